"""The common start of fitting and pretraining: load the data and the backbone, and log them."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone_from_config
from transferkit.data.imagedata import ImageData
from transferkit.data.load_data import load_data
from transferkit.device import find_device, find_precision
from transferkit.errors import WeightsUnavailable
from transferkit.report.command_text import command_of
from transferkit.report.run_files import write_splits
from transferkit.targets.target import Target
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)


def prepare(settings: Mapping[str, Any], run_dir: Path, timer: StepTimer) -> tuple[ImageData, Backbone]:
    """Seed torch, load the data (step `data`; `split.csv` in the run directory) and create the backbone.

    With `backbones`, several are compared (step `networks`), and the chosen one is returned.

    Raises:
        TransferkitError: The data or the backbone cannot be had.
    """
    torch.manual_seed(settings["seed"])
    with timer.step("data"):
        data = load_data(settings["dataset"], settings["seed"])
        write_splits(run_dir, data)
    log.info("Data: %s, %s; %s", data.name, data.target.words(), data.split_note)
    if settings.get("backbones"):
        from transferkit.cli.pick_network import pick_network  # the advisor, which most runs do without

        with timer.step("networks"):
            backbone = pick_network(settings, data, run_dir)
    else:
        backbone = load_backbone(settings["backbone"])
    log.info("Backbone: %s, weights %s.", backbone.spec.name, backbone.weights_name)
    return data, backbone


def compared_networks(settings: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """Return the entry `networks` of metrics.json and advice.json; nothing where no networks were compared."""
    if not settings.get("backbones"):
        return {}
    from transferkit.advisor.network_table import read_networks

    return {"networks": read_networks(run_dir)}


def load_backbone(group: Mapping[str, Any]) -> Backbone:
    """Create the backbone of the group `backbone`.

    Raises:
        TransferkitError: It cannot be had; where only its weights cannot, the message has a command that works.
    """
    try:
        return create_backbone_from_config(group)
    except WeightsUnavailable as error:
        raise WeightsUnavailable(f"{error} This works now: {with_installed_weights(sys.argv[1:])}") from error


def with_installed_weights(arguments: Sequence[str]) -> str:
    """Return the command line of this process with the backbone whose ImageNet weights are always installed."""
    kept = [argument for argument in arguments if not re.match(r"[+~]*backbone[.@=]", argument)]
    return command_of(*kept, "backbone=efficientnet_lite0")


def target_entry(target: Target) -> dict[str, Any]:
    """Return the entry of metrics.json about a target that is no class; none of classes."""
    return {} if target.kind == "class" else {"target": {**target.describe(), "names": list(target.names)}}


def describe(settings: Mapping[str, Any], data: ImageData, backbone: Backbone, model: nn.Module) -> dict[str, Any]:
    """Return the entries of metrics.json about the data and the network."""
    trainer = settings["trainer"]
    return {
        "backbone": backbone.spec.name,
        "weights": backbone.weights_name,
        "dataset": data.name,
        "protocol": next(iter(settings["protocol"])),
        "precision": find_precision(trainer["precision"], find_device(trainer["device"])),
        "seed": settings["seed"],
        "num_classes": len(data.class_names),
        **target_entry(data.target),
        "data": data.facts(),
        "total_parameters": sum(p.numel() for p in model.parameters()),
    }
