"""The probes of a backbone by name, and their pooled features."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import feature
from transferkit.errors import TransferkitError
from transferkit.features.frozen_network import FrozenStages


def blank_image(backbone: Backbone) -> Tensor:
    """Return one black image (1, 3, H, W) of the backbone's input size, for determining the shapes of features."""
    return next(backbone.parameters()).new_zeros(1, 3, *backbone.preprocess.input_size)


def name_probes(backbone: Backbone, stages: Sequence[str] | None, combine: str) -> dict[str, list[str]]:
    """Return the stages of each probe by its name, e.g. `{"stage3+stage5": ["stage3", "stage5"]}`.

    Args:
        backbone: The network.
        stages: Names or patterns; by default the top feature stage.
        combine: "best" for a probe of each stage, "concat" for one of all.

    Raises:
        TransferkitError: A stage is unknown.
    """
    found = backbone.match(stages or [backbone.top])
    if not found:
        raise TransferkitError(f"stages={stages} names none of {', '.join(backbone.stage_names)}.")
    choices = [found] if combine == "concat" else [[stage] for stage in found]
    return {"+".join(choice): choice for choice in choices}


@torch.no_grad()
def probe_features(
    backbone: Backbone, probes: Mapping[str, list[str]], pool: str, images: Tensor, fast: FrozenStages | None
) -> dict[str, Tensor]:
    """Return the features (N, D) of each probe, those of its stages concatenated.

    Args:
        backbone: Ends with the last stage needed.
        probes: Stages by probe.
        pool: One of `choices.POOLS`.
        images: (N, 3, H, W), preprocessed or uint8.
        fast: The optimized copy of the stages, if available.
    """
    pooled = stage_features(backbone, probes, pool, images, fast)
    return {name: torch.cat([pooled[stage] for stage in taken], dim=1) for name, taken in probes.items()}


def probe_widths(backbone: Backbone, probes: Mapping[str, list[str]], pool: str) -> dict[str, list[int]]:
    """Return the number of features of each stage of each probe."""
    with torch.no_grad():
        pooled = stage_features(backbone, probes, pool, blank_image(backbone), None)
    return {name: [pooled[stage].shape[1] for stage in taken] for name, taken in probes.items()}


def stage_features(
    backbone: Backbone, probes: Mapping[str, list[str]], pool: str, images: Tensor, fast: FrozenStages | None
) -> dict[str, Tensor]:
    """Return the features (N, D) of each stage that a probe takes; arguments as for `probe_features`."""
    stages = backbone.match({name for taken in probes.values() for name in taken})
    if fast is not None:
        states = fast(images, stages)
    else:
        images = backbone.preprocess.finish(images)
        states = backbone.forward_stages(images.contiguous(memory_format=torch.channels_last), stages)
    return {stage: backbone.pooled(stage, feature(state).float(), pool) for stage, state in states.items()}
