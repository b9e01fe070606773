"""The configuration outside of a command line."""

import pytest

from transferkit.config.choice_files import choices
from transferkit.config.compose import config_dir, load_strategies, load_strategy_settings
from transferkit.errors import TransferkitError


def test_it_lies_where_the_command_line_finds_it() -> None:
    assert (config_dir() / "config.yaml").is_file()


def test_a_strategy_comes_with_all_groups_and_overrides() -> None:
    settings = load_strategy_settings("lp_ft", ["seed=7", "optimizer=sgd"])
    assert settings["strategy"]["name"] == "lp_ft"
    assert (settings["seed"], settings["optimizer"]["name"]) == (7, "sgd")
    assert load_strategy_settings("lp_ft")["seed"] == 0


def test_strategies_composed_at_once_are_those_composed_one_by_one() -> None:
    names = choices("strategy")
    assert "lp_ft" in names
    assert load_strategies(names) == {name: load_strategy_settings(name)["strategy"] for name in names}


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("lpft", [], r"strategy=lpft: .*Did you mean lp_ft"),
        ("base", [], r"strategy=base: there is no such choice"),
        ("lp_ft", ["no_such_key=1"], "strategy=lp_ft: .*no_such_key"),
    ],
)
def test_what_cannot_be_composed(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        load_strategy_settings(name, overrides)
