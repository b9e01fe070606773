"""Auxiliary classifiers: they see activations inside the network and add to the loss in training only."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.googlenet import InceptionAux

from transferkit.backbones.backbone import Backbone

WEIGHT = 0.3
"""Of the loss of each auxiliary classifier (Szegedy et al. 2015, section 5)."""

GROUP = "auxiliary"
"""Their name beside those of the stages, in logs and parameter groups."""

_SEEN_BY = {"aux1": ("inception4b.branch1.conv", 512), "aux2": ("inception4e.branch1.conv", 528)}
"""The layer of `stage4` whose input each of GoogLeNet's auxiliary classifiers takes, and its channels."""


class AuxiliaryClassifiers(nn.Module):
    """The two auxiliary classifiers of GoogLeNet.

    They start at random: torchvision's weights hold none that were trained.

    Args:
        num_classes: K.

    Attributes:
        stage: The stage inside which they are attached.
    """

    stage = "stage4"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.classifiers = nn.ModuleDict(
            {name: InceptionAux(channels, num_classes) for name, (_, channels) in _SEEN_BY.items()}
        )

    def append(self, name: str, logits: list[Tensor], layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Append the logits (N, K) of a classifier for the input of a layer: a forward pre-hook of the layer."""
        logits.append(self.classifiers[name](inputs[0]).float())


@contextmanager
def attached(
    auxiliary: AuxiliaryClassifiers | None, stages: Mapping[str, nn.Module], trained: Collection[str]
) -> Iterator[list[Tensor]]:
    """A list to which each pass through the network in this context appends the logits (N, K) of each classifier.

    Args:
        auxiliary: The classifiers, or None.
        stages: The network's stages by name.
        trained: The names of those that train; the list stays empty if GROUP is not among them.
    """
    logits: list[Tensor] = []
    with ExitStack() as hooks:
        if auxiliary is not None and GROUP in trained:
            for name, (layer, _) in _SEEN_BY.items():
                module = stages[auxiliary.stage].get_submodule(layer)
                hooks.enter_context(module.register_forward_pre_hook(partial(auxiliary.append, name, logits)))
        yield logits


def auxiliary_classifiers(backbone: Backbone, num_classes: int) -> AuxiliaryClassifiers | None:
    """The classifiers for which `backbone.kwargs.aux_logits=true` asks, if the backbone has their stage."""
    wanted = backbone.spec.name == "googlenet" and backbone.spec.kwargs.get("aux_logits")
    return AuxiliaryClassifiers(num_classes) if wanted and AuxiliaryClassifiers.stage in backbone.stage_names else None


def with_rate(auxiliary: AuxiliaryClassifiers | None, rates: Mapping[str, float]) -> dict[str, float]:
    """The learning rates of the trained stages, and that of the auxiliary classifiers: the head's.

    Args:
        auxiliary: They train if their stage does.
        rates: By stage.
    """
    if auxiliary is None or auxiliary.stage not in rates:
        return dict(rates)
    return {**rates, GROUP: rates.get("head", rates[auxiliary.stage])}
