"""Cache keys: everything that determines a feature, except the image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import Any
from weakref import WeakKeyDictionary

import torch

from transferkit.backbones.backbone import Backbone
from transferkit.data.images import DECODE_VERSION

_FORMAT = 2
"""Increased whenever the computation of features changes, so that cached ones are recomputed."""


@dataclass(frozen=True)
class _Hashed:
    marks: list[tuple[object, ...]]
    digests: list[tuple[str, str]]


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

_hashed: "WeakKeyDictionary[Backbone, _Hashed]" = WeakKeyDictionary()


def describe(
    backbone: Backbone, stages: Sequence[str], pool: str = "avg", precision: str = "fp32"
) -> dict[str, dict[str, Any]]:
    """For each of the stages (in order) everything that determines its features, except the image, in plain values."""
    common = {
        "format": _FORMAT,
        "decode": DECODE_VERSION,
        "network": asdict(backbone.spec),
        "preprocessing": backbone.preprocess.to_dict(),
        "precision": f"{parameter_type(backbone)}, {precision}",
        "versions": {name: version(name) for name in ("torch", "torchvision", "timm", "pillow")},
    }
    leaves = {name: backbone.stage_of(name) for name in stages}
    count = max(map(backbone.stage_names.index, leaves.values()), default=-1) + 1
    digests = dict(_weights(backbone, count))
    return {
        name: {**common, "pool": _pool(backbone, name, pool), "stage": name, "weights": digests[stage]}
        for name, stage in leaves.items()
    }


def _pool(backbone: Backbone, stage: str, pool: str) -> str:
    """The pooling of a stage, so that "auto" and the pooling that it stands for have one key."""
    info = backbone.info(stage)
    automatic = "avg" if info.kind == "vector" else info.pool
    return automatic if pool == "auto" else pool


def _weights(backbone: Backbone, count: int) -> list[tuple[str, str]]:
    """For each of the first stages, a hash of its weights and those before it; computed once for the same weights.

    Deeper stages (VGG's fc6 has 400 MB) are not hashed.
    """
    state = {name: stage.state_dict() for name, stage in list(backbone.stages.items())[:count]}
    marks = [_mark(tensor) for tensors in state.values() for tensor in tensors.values()]
    known = _hashed.get(backbone)
    if known is not None and known.marks[: len(marks)] == marks and len(known.digests) >= count:
        return known.digests[:count]
    digest, digests = sha256(), []
    for name, tensors in state.items():
        for key, tensor in tensors.items():
            digest.update(f"{name} {key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        digests.append((name, digest.hexdigest()))
    _hashed[backbone] = _Hashed(marks, digests)
    return digests


def _mark(tensor: torch.Tensor) -> tuple[object, ...]:
    """A fingerprint that differs once a tensor was replaced or changed, by `.data` too; a tenth as costly as a hash."""
    version = None if tensor.is_inference() else tensor._version
    words = tensor.detach().contiguous().view(-1).view(_INTEGERS[tensor.element_size()])
    return tensor.data_ptr(), version, tensor.dtype, tuple(tensor.shape), int(words.sum(dtype=torch.int64))


def parameter_type(backbone: Backbone) -> torch.dtype:
    """The number format of the weights."""
    return next((p.dtype for p in backbone.parameters()), torch.float32)
