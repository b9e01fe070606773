"""`epochs` and `lr`: which keys they set, by strategy and task."""

from typing import Any

import pytest

from tests.conftest import compose_settings
from transferkit.config.schema import check_config
from transferkit.config.shortcuts import shortcut_lines
from transferkit.errors import TransferkitError


def test_every_phase_gets_exactly_the_epochs() -> None:
    phases = compose_settings("full_finetune", "epochs=3")["strategy"]["phases"]
    assert {name: (phase["epochs"], phase["min_steps"]) for name, phase in phases.items()} == {
        "head": (3, 0),
        "all": (3, 0),
    }


def test_lr_is_the_highest_rate_and_the_others_keep_their_proportion() -> None:
    before = compose_settings("full_finetune")["strategy"]
    after = compose_settings("full_finetune", "lr=1e-4")["strategy"]
    assert after["phases"]["head"]["train"] == {"head": 1e-4}
    for stage, rate in before["phases"]["all"]["train"].items():
        expected = rate * 1e-4 / before["phases"]["all"]["train"]["head"]
        assert after["phases"]["all"]["train"][stage] == pytest.approx(expected)
    assert (before["head_scale"], after["head_scale"]) == ("auto", 1.0)
    assert compose_settings("full_finetune", "lr=1e-4", "strategy.head_scale=0.5")["strategy"]["head_scale"] == 0.5


def test_a_gradient_probe_and_a_pretraining() -> None:
    gradient = compose_settings("linear_probe", "strategy.solver=gradient", "epochs=3", "lr=0.1")["strategy"][
        "gradient"
    ]
    assert (gradient["epochs"], gradient["min_steps"], gradient["lr"]) == (3, 0, 0.1)
    pretrain = compose_settings("linear_probe", "task=pretrain", "epochs=3", "lr=0.1")
    assert (pretrain["task"]["epochs"], pretrain["optimizer"]["lr"]) == (3, 0.1)


@pytest.mark.parametrize(
    ("strategy", "override", "told"),
    [
        ("linear_probe", "epochs=3", "strategy.solver=gradient"),
        ("nearest_neighbor", "lr=0.1", "has no learning rate"),
        ("auto", "epochs=3", "chooses its own"),
        ("finetune_few", "epochs=0", "epochs=0 must be"),
        ("finetune_few", "lr=-1", "lr=-1 must be"),
    ],
)
def test_where_nothing_has_them(strategy: str, override: str, told: str) -> None:
    with pytest.raises(TransferkitError, match=told.replace(".", r"\.")):
        compose_settings(strategy, override)


def test_other_tasks_refuse_them_and_checking_twice_changes_nothing() -> None:
    settings: dict[str, Any] = compose_settings("full_finetune", "epochs=3", "lr=1e-4")
    assert check_config(settings) == settings
    assert shortcut_lines(settings)[0] == (
        "epochs=3 sets strategy.phases.head.{epochs=3, min_steps=0}, strategy.phases.all.{epochs=3, min_steps=0}."
    )
    with pytest.raises(TransferkitError, match="not for task=compare"):
        compose_settings("full_finetune", "task=compare", "runs=x", "epochs=3")
