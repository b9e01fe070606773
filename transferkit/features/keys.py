"""What determines a feature, but the image: the key under which it is kept."""

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import torch

from transferkit.backbones.backbone import Backbone
from transferkit.data.images import DECODE_VERSION

_FORMAT = 2
"""Raised whenever features are computed otherwise than before, so that cached ones are computed anew."""


def describe(
    backbone: Backbone, stages: Sequence[str], pool: str = "avg", precision: str = "fp32"
) -> dict[str, dict[str, Any]]:
    """For each of the stages (in order) all that determines its features but the image, in plain values."""
    common = {
        "format": _FORMAT,
        "decode": DECODE_VERSION,
        "network": asdict(backbone.spec),
        "preprocessing": backbone.preprocess.to_dict(),
        "precision": f"{parameter_type(backbone)}, {precision}",
        "pool": pool,
        "versions": {name: version(name) for name in ("torch", "torchvision", "timm", "pillow")},
    }
    digest = sha256()
    described: dict[str, dict[str, Any]] = {}
    for name, stage in backbone.stages.items():
        if len(described) == len(set(stages)):
            break  # what lies deeper (VGG's fc6 has 400 MB) determines nothing that is asked for
        for key, tensor in stage.state_dict().items():
            digest.update(f"{name} {key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        if name in stages:
            described[name] = {**common, "stage": name, "weights": digest.hexdigest()}
    return described


def parameter_type(backbone: Backbone) -> torch.dtype:
    """The number format of the weights."""
    return next((p.dtype for p in backbone.parameters()), torch.float32)
