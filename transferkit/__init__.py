"""Transfer learning for images: which pretrained network, how much of it to train, and how well it will work.

Public names are imported on first use, so that ``import transferkit`` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.backbones.backbone import Backbone
    from transferkit.backbones.create import create_backbone
    from transferkit.backbones.feature_maps import FeatureMaps
    from transferkit.data.imageset import ImageSet
    from transferkit.data.load_data import load_data
    from transferkit.data.preprocess import Preprocessing
    from transferkit.errors import TransferkitError
    from transferkit.features.extract import extract_features
    from transferkit.models.ensemble import EnsembleModel, load_model
    from transferkit.models.transfer_model import TransferModel
    from transferkit.probes.linear import LinearProbe
    from transferkit.probes.transfer_classifier import TransferClassifier
    from transferkit.probes.transfer_features import TransferFeatures
    from transferkit.training.finetune_module import FinetuneModule
    from transferkit.training.plan import Plan, load_strategy
    from transferkit.training.probe_module import ProbeModule

__version__ = "0.1.0"

_HOMES = {
    "Backbone": "transferkit.backbones.backbone",
    "EnsembleModel": "transferkit.models.ensemble",
    "FeatureMaps": "transferkit.backbones.feature_maps",
    "FinetuneModule": "transferkit.training.finetune_module",
    "ImageSet": "transferkit.data.imageset",
    "LinearProbe": "transferkit.probes.linear",
    "Plan": "transferkit.training.plan",
    "Preprocessing": "transferkit.data.preprocess",
    "ProbeModule": "transferkit.training.probe_module",
    "TransferClassifier": "transferkit.probes.transfer_classifier",
    "TransferFeatures": "transferkit.probes.transfer_features",
    "TransferModel": "transferkit.models.transfer_model",
    "TransferkitError": "transferkit.errors",
    "create_backbone": "transferkit.backbones.create",
    "extract_features": "transferkit.features.extract",
    "load_data": "transferkit.data.load_data",
    "load_model": "transferkit.models.ensemble",
    "load_strategy": "transferkit.training.plan",
}

__all__ = [
    "Backbone",
    "EnsembleModel",
    "FeatureMaps",
    "FinetuneModule",
    "ImageSet",
    "LinearProbe",
    "Plan",
    "Preprocessing",
    "ProbeModule",
    "TransferClassifier",
    "TransferFeatures",
    "TransferModel",
    "TransferkitError",
    "create_backbone",
    "extract_features",
    "load_data",
    "load_model",
    "load_strategy",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'transferkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
