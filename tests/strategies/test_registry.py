"""Which function fits a strategy, and what is found before any work."""

from pathlib import Path
from typing import Any

import pytest

from transferkit.config.compose import config_dir, load_strategy_settings
from transferkit.errors import TransferkitError
from transferkit.strategies.context import Context
from transferkit.strategies.registry import KINDS, check_strategy, fit_strategy

STRATEGIES = [path.stem for path in sorted((config_dir() / "strategy").glob("*.yaml")) if path.stem != "base"]


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
    with pytest.raises(TransferkitError, match=r"strategy\.auto\.budget=2 must be a number from 0 to 1"):
        check_strategy(load_strategy_settings("auto", ["strategy.auto.budget=2"]))
