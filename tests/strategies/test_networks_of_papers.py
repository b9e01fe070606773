"""The networks of the papers through every strategy: one step of each phase, and the probes, in this process."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import transferkit as tk
from tests.backbones.networks import quick_initialisation
from tests.conf.test_backbone import CHANNELS, SMALLER, UNPADDED, load
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context
from tests.strategies.test_registry import STRATEGIES
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone_from_config
from transferkit.backbones.stage_sequence import feature
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import TransferModel, load_model, save_model
from transferkit.probes.linear import LinearProbe
from transferkit.probes.neighbors import NeighborHead
from transferkit.strategies.frozen_features import named_stages
from transferkit.strategies.linear_probe import probe_head
from transferkit.strategies.registry import fit_strategy
from transferkit.training.auxiliary import GROUP
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import plan_of

CLASSES = ["a", "b"]
LABELS = torch.tensor([0, 1, 0, 1])
DEEPER = ("vgg13", "vgg16", "vgg19", "resnet34", "resnet101", "resnet152", "plain34")
"""Networks that only repeat the blocks of one that is tested: vgg11, resnet18, resnet50, plain18."""
NETWORKS = [*(name for name in CHANNELS if not name.endswith("_bn") and name not in DEEPER), "googlenet_aux"]
NARROW = SMALLER | {"resnet50": {"width_per_group": 16}, "seresnet50": {"layers": [1, 1, 1, 1]}}
SHALLOW = ("wide_resnet50_2", "resnext50_32x4d")  # one block a stage: torchvision takes no width for them
SLOW = ("inception_v4", "nasnetalarge", "senet154", "densenet121", "vgg11", "wide_resnet50_2")


def small(name: str) -> tuple[Backbone, Tensor]:
    """A network with few classes, and four images of which batch norm knows the statistics."""
    config = load(name, "backbone.weights=null")
    config["kwargs"] |= {**NARROW.get(name, {}), "num_classes": 2}
    torch.manual_seed(0)
    with quick_initialisation(narrow=True), pytest.MonkeyPatch.context() as patch:
        if name in SHALLOW:
            build = torchvision.models.resnet._resnet
            patch.setattr(
                torchvision.models.resnet, "_resnet", lambda block, _, *a, **k: build(block, [1] * 4, *a, **k)
            )
        backbone = create_backbone_from_config(config)
    size = 80 if name in UNPADDED - {"lenet5"} else 32
    images = torch.randn(4, 3, size, size)
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            backbone.train()(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return backbone.eval(), images


def versions(module: nn.Module) -> dict[str, int]:
    """How often each parameter and buffer was changed in place."""
    return {name: value._version for name, value in module.state_dict(keep_vars=True).items()}


def step(module: FinetuneModule, images: Tensor) -> None:
    """One step of the present phase: what it trains changes, what is frozen does not."""
    before = versions(module)
    optimizer = torch.optim.SGD(module.parameter_groups())  # AdamW's state would take most of the time
    loss = module.train().training_step((images, LABELS), 0)
    assert torch.isfinite(loss)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, stage in module.named_stages.items():
        gradients = [p.grad for p in stage.parameters() if p.grad is not None]
        assert bool(gradients) == (name in module.rates)
        assert name not in module.rates or any(bool(gradient.any()) for gradient in gradients), name
    nn.utils.clip_grad_norm_(module.parameters(), module.plan.gradient_clip or 1.0)
    optimizer.step()
    module.zero_grad()
    changed = {name for name, version in versions(module).items() if version != before[name]}
    frozen = module.frozen_keys()
    assert not changed & frozen
    assert changed >= {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def take_steps(backbone: Backbone, images: Tensor, auxiliary: bool, strategies: Iterable[str] = STRATEGIES) -> None:
    """One step of each phase of each finetuning strategy."""
    done = set[tuple[Any, ...]]()
    normed = any(isinstance(module, _BatchNorm) for module in backbone.modules())
    for strategy in strategies:
        settings = compose_settings(strategy)
        if "phases" not in settings["strategy"]:
            continue
        plan = plan_of(settings)
        if strategy == "norm_tune" and not normed:
            with pytest.raises(TransferkitError, match="have no such parameters"):
                FinetuneModule(backbone, len(CLASSES), plan)
            continue
        module = FinetuneModule(backbone, len(CLASSES), plan)
        assert (module.auxiliary is not None) == auxiliary
        for phase in plan.phases:
            module.begin(phase.name)
            whole = phase.parameters == "all"
            assert (GROUP in module.rates) == (auxiliary and whole and "stage4" in module.rates)
            # Many strategies train the same stages, at other rates.
            same = (*module.rates, normed and plan.batch_norm, phase.parameters)
            if same not in done:
                step(module, images)
                done.add(same)
        module.merge()


@torch.inference_mode()
def probe(backbone: Backbone, images: Tensor) -> None:
    """The strategies on frozen features: their heads, on every stage, give in the model what they give alone."""
    states = backbone.forward_stages(images, backbone.feature_stages)
    vectors = {stage: backbone.pooled(stage, feature(state)) for stage, state in states.items()}
    for strategy in ("linear_probe", "stage_probe"):
        wanted = compose_settings(strategy)["strategy"]["probe"]["stages"]
        for stage in named_stages(backbone, wanted, "stages"):
            fitted = LinearProbe(Cs=[1.0], refit=False).fit(vectors[stage], LABELS, vectors[stage], LABELS)
            head = probe_head(fitted, len(CLASSES))
            model = TransferModel(backbone.truncate(stage), head, CLASSES)
            torch.testing.assert_close(model(images), head(vectors[stage]))
    top = vectors[backbone.top]
    neighbours = TransferModel(backbone.truncate(backbone.top), NeighborHead(top, LABELS, 2, k=1), CLASSES)
    assert torch.equal(neighbours(images).argmax(dim=1), LABELS)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log:UserWarning")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NETWORKS])
def test_every_strategy(name: str) -> None:
    backbone, images = small(name)
    probe(backbone, images)
    take_steps(backbone, images, auxiliary=name == "googlenet_aux")


@pytest.mark.parametrize("strategy", [pytest.param("auto", marks=pytest.mark.slow), "stage_probe", "gradual_unfreeze"])
def test_lenet5_is_fitted_and_read_back(strategy: str, tmp_path: Path) -> None:
    """The network with the fewest stages, no batch norm, and no stage of stride 8 or more."""
    data = tk.load_data({"kind": "digits", "name": "digits", "per_class": 3, "max_test": 20}, seed=0)
    overrides = ["strategy.auto.trials=false"] if strategy == "auto" else []
    settings = compose_settings(strategy, *overrides)
    for phase in settings["strategy"].get("phases", {}).values():
        phase |= {"epochs": 1, "min_steps": 0}
    model = fit_strategy(make_context(tk.create_backbone("lenet5", None), data, settings, tmp_path)).model
    save_model(tmp_path / "artifact", model)
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(load_model(tmp_path / "artifact")(images), model.cpu().eval()(images), atol=1e-5)
