"""The function that fits a strategy, and the mistakes that are found before any work."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import compose_settings
from transferkit.cli import fit
from transferkit.config.compose import config_dir, load_strategy_settings
from transferkit.errors import TransferkitError
from transferkit.features import from_settings
from transferkit.strategies.context import Context
from transferkit.strategies.registry import KINDS, check_strategy, fit_strategy
from transferkit.training.plan import Plan

STRATEGIES = [path.stem for path in sorted((config_dir() / "strategy").glob("*.yaml"))]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_of_one_kind_and_passes_the_check(name: str) -> None:
    settings = load_strategy_settings(name)
    assert len(set(settings["strategy"]) & set(KINDS)) == 1
    check_strategy(settings)


def test_a_strategy_of_no_kind() -> None:
    settings: Any = {"strategy": {"name": "mine"}, "seed": 0}
    context = Context(None, None, settings, None, None, Path())  # type: ignore[arg-type]
    with pytest.raises(TransferkitError, match="strategy=mine has none of probe, "):
        fit_strategy(context)


def test_a_single_rate_beside_a_plan_is_refused() -> None:
    settings = load_strategy_settings("lp_ft")
    check_strategy({**settings, "overrides": ["optimizer.lr_scale=3", "optimizer.weight_decay=0"]})
    with pytest.raises(TransferkitError, match=r"optimizer\.lr is the rate of task=pretrain.*optimizer\.lr_scale"):
        check_strategy({**settings, "overrides": ["optimizer.lr=0.1"]})
    check_strategy({**load_strategy_settings("linear_probe"), "overrides": ["optimizer.lr=0.1"]})


def test_options_of_auto_are_checked() -> None:
    with pytest.raises(TransferkitError, match=r"strategy\.auto\.budget=2 must be auto, or a number from 0 to 1"):
        load_strategy_settings("auto", ["strategy.auto.budget=2"])


def test_a_plan_is_read_once_and_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the check before any work to the fit; the extractor is made once, too."""
    calls: Counter[str] = Counter()

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(Plan, "from_mapping", counted("plan", Plan.from_mapping))
    monkeypatch.setattr(fit, "make_extractor", counted("extractor", from_settings.make_extractor))
    seen: list[Context] = []
    monkeypatch.setattr(fit, "prepare", lambda *_: (None, None))

    def stop(context: Context) -> None:
        seen.append(context)
        raise KeyboardInterrupt

    monkeypatch.setattr("transferkit.strategies.finetune.fit_finetune", stop)
    with pytest.raises(KeyboardInterrupt):
        fit.main(compose_settings("finetune_few"), tmp_path)
    assert calls == {"plan": 1, "extractor": 1}
    assert seen[0].plan is not None
    assert seen[0].plan.name == "finetune_few"
