"""Every optimizer, schedule, augmentation, start and regulariser through one epoch of a fit, several in each."""

import json
import math
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import compose_settings
from transferkit.choices import INIT_METHODS
from transferkit.cli.fit import main
from transferkit.config.choice_files import choices
from transferkit.errors import TransferkitError

TINY = (
    *("dataset.per_class=3", "dataset.max_test=10", "calibrate.temperature=false", "calibrate.known=null"),
    *("strategy.phases.all.epochs=1", "strategy.phases.all.min_steps=0"),
)
NEEDED = {"optimizer": {"timm": ("optimizer.name=adan",)}}
METHODS: list[tuple[str, ...]] = [
    ("lp_ft", "strategy.l2_sp.alpha=0.1"),
    ("lp_ft", "strategy.wise_ft=auto", "selection=val"),
    ("lp_ft", "strategy.swa.start=0"),
    ("lp_ft", "strategy.swa.start=0", "strategy.batch_norm=batch"),
    ("lp_ft", "strategy.distill.teacher=probe"),
    ("lp_ft", "strategy.distill.teacher=RUN"),
    ("lp_ft", "strategy.ema=0.9", "strategy.class_weights=balanced"),
    ("lp_ft", "+strategy.phases.all.lr_decay=0.8", "strategy.head_dropout=0.5"),
    ("lp_ft", "strategy.mixup=0.2"),
    ("lp_ft", "strategy.cutmix=1.0"),
    *(("from_scratch", f"strategy.network_init={name}", f"strategy.head_init={name}") for name in INIT_METHODS),
]


def combinations() -> list[tuple[str, tuple[str, ...]]]:
    """A strategy and overrides for each fit: as many as the longest list has choices, the others begin anew."""
    lists = {group: choices(group) for group in ("augment", "optimizer", "schedule")}
    count = max(len(METHODS), *map(len, lists.values()))
    found, turns = [], {group: cycle(names) for group, names in lists.items()}
    for (strategy, *method), _ in zip(cycle(METHODS), range(count), strict=False):
        overrides = list(method)
        for group, turn in turns.items():
            name = next(turn)
            overrides += [f"{group}={name}", *NEEDED.get(group, {}).get(name, ())]
        found.append((strategy, (*overrides, "schedule.warmup=0.3")))
    return found


def fit(strategy: str, overrides: tuple[str, ...], folder: Path) -> dict[str, Any]:
    selection = () if any(o.startswith("selection") for o in overrides) else ("selection=last",)
    main(compose_settings(strategy, *TINY, *selection, *overrides), folder)
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    main(compose_settings("linear_probe", *TINY[:4], "strategy.probe.Cs=[1.0]"), folder)
    return folder


def test_nothing_is_left_out() -> None:
    tried = {override for _, overrides in combinations() for override in overrides}
    for group in ("augment", "optimizer", "schedule"):
        assert {f"{group}={name}" for name in choices(group)} <= tried
    assert {override for method in METHODS for override in method[1:]} <= tried


@pytest.mark.parametrize(("strategy", "overrides"), combinations(), ids=str)
def test_a_choice_trains(
    strategy: str, overrides: tuple[str, ...], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.cli.fit.write_page", lambda path, result: None)  # half of the time
    metrics = fit(strategy, tuple(override.replace("RUN", str(teacher)) for override in overrides), tmp_path)
    (row, *_) = (tmp_path / "history.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert all(math.isfinite(float(value)) for value in row.split(",")[1:] if value)
    assert math.isfinite(metrics["test"]["nll"])
    assert ("wise_ft" in metrics) is ("strategy.wise_ft=auto" in overrides)


@pytest.mark.parametrize("experiment", ["train_alexnet", "train_vgg16", "train_resnet"])
def test_the_recipes_of_the_papers(experiment: str, tmp_path: Path) -> None:
    overrides = (f"experiment={experiment}", "backbone=narrow_resnet10", "backbone.weights=null")
    settings = compose_settings("from_scratch", *overrides)
    assert (settings["optimizer"]["momentum"], settings["schedule"]["name"]) == (0.9, "plateau")
    assert settings["strategy"]["phases"]["all"]["epochs"] >= 74
    metrics = fit("from_scratch", (*overrides, "selection=val", "strategy.batch_size=16"), tmp_path)
    assert metrics["phases"]["all"]["steps"] == 1


def test_a_teacher_that_is_no_run_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="nowhere"):
        fit("lp_ft", ("strategy.distill.teacher=nowhere",), tmp_path)
    assert not list(tmp_path.iterdir())
