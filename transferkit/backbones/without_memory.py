"""A backbone without memory for its weights, from which shapes and counts are taken."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import network_source
from transferkit.backbones.cut import cut
from transferkit.backbones.original import Original, check_kwargs, no_init
from transferkit.backbones.stage_sequence import BackboneSpec
from transferkit.config.schema import check_group
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

log = logging.getLogger(__name__)


def backbone_without_memory(config: Mapping[str, Any]) -> Backbone:
    """The network that a `backbone` group describes, cut into stages, on torch's meta device; no weights are read.

    Args:
        config: The arguments of `create_backbone`; `weights` and the normalisation are ignored.

    Raises:
        TransferkitError: The name is unknown, or the network cannot be cut.
    """
    config = check_group("backbone", config)
    name, kwargs = config["name"], dict(config["kwargs"])
    check_kwargs(kwargs)
    source, module = network_source(config["source"], name)
    size = config["input_size"]
    if size is not None:
        kwargs = dict(module.for_size(name, kwargs, Preprocessing().override(input_size=size).input_size))

    def build() -> tuple[Original, Any]:
        with no_init():
            original: Original = module.build(name, None, kwargs)
            return original, cut(original.model, original.preprocess.input_size, f"{name} ({source})")

    try:
        with torch.device("meta"):
            original, (stages, infos) = build()
    except TransferkitError:
        raise
    except Exception as error:  # networks that compute with values while they are built or cut
        log.debug("%s cannot be built without memory: %s", name, error)
        original, (stages, infos) = build()
    preprocess = original.preprocess.override(input_size=size)
    spec = BackboneSpec(source, name, kwargs | dict(original.kwargs))
    return Backbone(stages, infos, preprocess, spec).eval().to("meta")
