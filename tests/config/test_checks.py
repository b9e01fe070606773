"""Settings that cannot be used are refused before any work, by their key."""

from typing import Any

import pytest

from transferkit.config.checks import check_settings
from transferkit.errors import TransferkitError


def settings(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "seed": 0,
        "trainer": {"batch_size": 64, "num_workers": "auto"},
        "cache": {"enabled": True, "max_gb": 0.5},
        "strategy": {"name": "linear_probe", "probe": {"stages": ["top"], "Cs": [0.1, 1]}, "neighbors": {}},
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        node = good
        for name in path:
            node = node[name]
        node[last] = value
    return good


def test_usable_settings_pass() -> None:
    check_settings(settings())
    check_settings(settings(strategy={"name": "another"}, trainer__num_workers=0))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("seed", ["abc", -1, 1.5, None, 2**32]),
        ("trainer.batch_size", [0, -3, "auto", True, 2.0]),
        ("trainer.num_workers", [-1, "many", None]),
        ("cache.enabled", ["yes", 1, None]),
        ("cache.max_gb", [0, "20GB", None]),
        ("cache.unused_days", [-1, "30d", None]),
        ("strategy.probe.Cs", ["abc", 0, [], [0.0], [1, "x"], None]),
        ("strategy.probe.stages", ["top", [], [5]]),
        ("strategy.pool", ["mean", "grid5", None]),
        ("strategy.solver", ["fast", None]),
        ("strategy.combine", ["all", None]),
        ("strategy.neighbors.stages", ["top", []]),
        ("strategy.neighbors.metrics", ["l2", [], ["l1"]]),
        ("strategy.neighbors.ks", [5, [], [0], [1.5]]),
    ],
)
def test_unusable_ones_are_named(key: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(TransferkitError) as refused:
            check_settings(settings(**{key.replace(".", "__"): value}))
        assert str(refused.value).startswith(f"{key}={value} must be ")
