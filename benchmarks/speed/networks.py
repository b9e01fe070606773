"""The networks, as their libraries make them and as transferkit is told about them; the same weights for both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.options import Options
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone_from_config
from transferkit.backbones.weights import read_state_dict
from transferkit.config.compose import load_strategy_settings
from transferkit.training.plan import plan_of


@dataclass(frozen=True)
class Net:
    """A network.

    Attributes:
        name: As its library calls it.
        weights: Its file.
        overrides: Beside name and weights, as on transferkit's command line.
        source: "torchvision" or "timm".
        kwargs: For the function that builds it.
    """

    name: str
    weights: Path
    overrides: tuple[str, ...]
    source: str = "torchvision"
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def plain(self, num_classes: int) -> nn.Module:
        """The library's network with a new classifier; with 0 classes it gives the features before it."""
        if self.source == "timm":
            model: nn.Module = timm.create_model(self.name, num_classes=1000, **self.kwargs)
            model.load_state_dict(read_state_dict(self.weights))
            model.reset_classifier(num_classes)  # type: ignore[operator]
            return model
        model = torchvision.models.get_model(self.name, weights=None)
        model.load_state_dict(read_state_dict(self.weights))
        owner, key = (model, "fc") if hasattr(model, "fc") else (model.classifier, "6")
        last = getattr(owner, key)
        setattr(owner, key, nn.Linear(last.in_features, num_classes) if num_classes else nn.Identity())
        return model


def random_net(name: str, options: Options) -> Net:
    """A network of torchvision, or else of timm, with the weights of `--weights-dir`, else random ones."""
    of_torchvision = name in torchvision.models.list_models()
    given = (
        [options.weights_dir / f"{name}{suffix}" for suffix in (".safetensors", ".pth")] if options.weights_dir else []
    )
    path = next((path for path in given if path.is_file()), options.out / "weights" / f"{name}.safetensors")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None) if of_torchvision else timm.create_model(name)
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    named = (f"backbone={name}",) if of_torchvision else ("backbone=timm", f"backbone.name={name}")
    return Net(name, path, (*named, f'backbone.weights="{path}"'), "torchvision" if of_torchvision else "timm")


def real_net(options: Options) -> Net | None:
    """MobileNetV2 with ImageNet weights, where they were given."""
    if options.real_weights is None:
        return None
    named = ("backbone=timm", "backbone.name=mobilenetv2_100", f'backbone.weights="{options.real_weights}"')
    overrides = (*named, *options.real_overrides)
    kwargs = load_strategy_settings("linear_probe", overrides)["backbone"]["kwargs"]
    return Net("mobilenetv2_100", options.real_weights, overrides, "timm", kwargs)


def trained_stages(net: Net, strategy: str) -> tuple[Backbone, list[str]]:
    """The network as transferkit cuts it, and which of its stages a strategy's last phase trains."""
    settings = load_strategy_settings(strategy, net.overrides)
    backbone = create_backbone_from_config(settings["backbone"])
    rates = plan_of(settings).phases[-1].rates((*backbone.feature_stages, "head"))
    return backbone, [stage for stage in backbone.feature_stages if stage in rates]


def trained_parameters(net: Net, strategy: str) -> set[str]:
    """The library's names of the parameters that a strategy's last phase trains, but for the classifier's."""
    backbone, stages = trained_stages(net, strategy)
    return {key for stage in stages for key, _ in backbone.stages[stage].named_parameters()}


def trained_flops(net: Net, strategy: str) -> float:
    """Floating point operations of the forward pass of one image from the first trained stage on."""
    backbone, stages = trained_stages(net, strategy)
    names = backbone.feature_stages
    frozen = names[: names.index(stages[0])]
    return flops(backbone.truncate(backbone.top)) - (flops(backbone.truncate(frozen[-1])) if frozen else 0)


def flops(model: nn.Module) -> float:
    """Floating point operations of the forward pass of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 224, 224))
    return float(counter.get_total_flops())
