from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import transferkit as tk
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context, short_settings
from transferkit.config.schema import conflicts
from transferkit.errors import TransferkitError
from transferkit.strategies.context import Context
from transferkit.strategies.phases import run_until
from transferkit.strategies.snapshots import fit_snapshots
from transferkit.strategies.start_module import make_module
from transferkit.strategies.stops import Stop

RESTARTS = ("schedule=cosine_restarts", "schedule.cycles=2", "selection=last", "augment=none", "optimizer.lr_scale=5")


def context_in(folder: Path, **changes: Any) -> Context:
    settings = {**short_settings("finetune_few", *RESTARTS, "dataset.per_class=3", "dataset.max_test=10"), **changes}
    data = tk.load_data(settings["dataset"], seed=0)
    backbone = tk.create_backbone("narrow_resnet10", weights="resnet_glyphs")
    return make_context(backbone, data, settings, folder)


def state_of(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_members_are_the_weights_at_the_end_of_each_cycle(tmp_path: Path) -> None:
    """By hand: the same training, stopped after each of its two epochs, which are a cycle each."""
    phases, models = fit_snapshots(context_in(tmp_path / "run", ensemble="snapshots"))
    members = [state_of(model) for model in models]
    assert len(members) == len(phases.history) == 2
    for epochs, member in enumerate(members, start=1):
        context = context_in(tmp_path / str(epochs))
        assert context.plan is not None
        module, _ = make_module(context, context.plan)
        run_until(module, context, Stop(1, epochs))
        by_hand = state_of(module.model)
        assert all(torch.equal(member[name], value) for name, value in by_hand.items())
    changed = [name for name in members[0] if not torch.equal(members[0][name], members[1][name])]
    assert "head.weight" in changed
    assert not any(".stages.stage4." in name for name in changed)
    _, models = fit_snapshots(context_in(tmp_path / "run", ensemble="snapshots"))  # finished: nothing is trained
    assert all(torch.equal(state_of(m)["head.weight"], w["head.weight"]) for m, w in zip(models, members, strict=True))
    with pytest.raises(TransferkitError, match="holds checkpoints of another training"):
        fit_snapshots(context_in(tmp_path / "run", seed=1, ensemble="snapshots"))


@pytest.mark.parametrize(
    ("strategy", "overrides", "message"),
    [
        ("lp_ft", (), "schedule=one_cycle has none: use schedule=cosine_restarts"),
        ("linear_probe", ("schedule=cosine_restarts",), "strategy=linear_probe has no phases"),
        ("lp_ft", ("schedule=cosine_restarts", "schedule.cycles=1"), "needs two cycles or more"),
        ("lp_ft", ("schedule=cosine_restarts", "selection=val"), "selection=val has nothing to choose"),
        ("lp_ft", ("schedule=cosine_restarts", "strategy.ema=0.9"), "takes the weights as they are"),
        ("lora", ("schedule=cosine_restarts",), "not for phases with parameters: lora"),
        ("lp_ft", ("task=evaluate", "run=x"), "ensemble is for task=fit"),
    ],
)
def test_what_has_no_snapshots_is_refused(strategy: str, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        compose_settings(strategy, *overrides, "ensemble=snapshots")


def test_with_restarts_nothing_is_in_the_way() -> None:
    assert conflicts(short_settings("lp_ft", *RESTARTS, "ensemble=snapshots")) == []
