"""The configuration is composed a second time only where it may say that the command is a multirun."""

import sys

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.global_hydra import GlobalHydra

from tests.conftest import REPOSITORY
from transferkit.cli.compose_once import compose_once, mode_is_open

CONF = REPOSITORY / "conf"


def test_no_other_file_sets_the_mode() -> None:
    setting = {path.parent.name for path in CONF.rglob("*.yaml") if "mode: MULTIRUN" in path.read_text("utf-8")}
    assert setting == {"experiment"}


@pytest.mark.parametrize(
    ("arguments", "composed"),
    [
        (["dataset=digits"], False),
        (["-m", "seed=0,1"], False),
        (["hydra.run.dir=run", "hydra/launcher=basic"], False),
        (["experiment=bakeoff"], True),
        (["hydra.mode=MULTIRUN", "seed=0,1"], True),
        (["hydra={mode: MULTIRUN}"], True),
        (["+experiment=bakeoff"], True),
        (["--config-dir", "mine", "strategy=mine"], True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_mode_is_the_one_that_hydra_finds(
    arguments: list[str], composed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [argument for argument in arguments if "=" in argument and "mine" not in argument]
    assert mode_is_open(overrides, arguments) == composed
    monkeypatch.setattr(sys, "argv", ["transferkit", *arguments])
    monkeypatch.setattr(Hydra, "get_mode", Hydra.get_mode)
    hydra = Hydra.create_main_hydra2("transferkit", create_automatic_config_search_path(None, None, str(CONF)))
    try:
        found = hydra.get_mode("config", overrides)
        compose_once()
        assert hydra.get_mode("config", overrides) == found
    finally:
        GlobalHydra.instance().clear()
