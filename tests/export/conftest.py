"""Fitted models on their way into files, and what makes them."""

from pathlib import Path

import torch

import transferkit as tk
from transferkit.backbones.backbone import Backbone
from transferkit.export.agreement import compared_images, some_images
from transferkit.export.deployed_network import DeployedNetwork
from transferkit.export.description import describe_model
from transferkit.export.exported import Exporting
from transferkit.models.transfer_model import Head, TransferModel, load_model, save_model


def digits() -> tk.ImageSet:
    return tk.load_data({"kind": "digits", "name": "digits"}, seed=0).test


def saved(folder: Path, backbone: Backbone, head: Head, stages: list[str] | None = None) -> TransferModel:
    """The model as an artifact gives it back."""
    names = [f"class {k}" for k in range(head.out_features)]
    save_model(folder, TransferModel(backbone, head, names, stages))
    return load_model(folder)


def exporting(model: TransferModel, folder: Path, images: int = 12) -> Exporting:
    compared = compared_images(model, some_images(digits(), images), "of digits")
    return Exporting(DeployedNetwork(model), describe_model(model), compared, folder, folder)


def random_head(features: int, classes: int = 3) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(features, classes)
