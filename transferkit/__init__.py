"""Transfer learning for images: which pretrained network, how much of it to train, and how well it will work.

Public names are imported on first use, so that ``import transferkit`` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferkit.backbones.backbone import Backbone
    from transferkit.backbones.create import create_backbone
    from transferkit.data.create import load_data
    from transferkit.data.imageset import ImageSet
    from transferkit.errors import TransferkitError
    from transferkit.features import extract_features
    from transferkit.finetune import FinetuneModule
    from transferkit.model import TransferModel, load_model
    from transferkit.plan import Plan, load_strategy
    from transferkit.preprocess import Preprocessing
    from transferkit.probe import LinearProbe
    from transferkit.probe_module import ProbeModule

__version__ = "0.1.0"

_HOMES = {
    "Backbone": "transferkit.backbones.backbone",
    "FinetuneModule": "transferkit.finetune",
    "ImageSet": "transferkit.data.imageset",
    "LinearProbe": "transferkit.probe",
    "Plan": "transferkit.plan",
    "Preprocessing": "transferkit.preprocess",
    "ProbeModule": "transferkit.probe_module",
    "TransferModel": "transferkit.model",
    "TransferkitError": "transferkit.errors",
    "create_backbone": "transferkit.backbones.create",
    "extract_features": "transferkit.features",
    "load_data": "transferkit.data.create",
    "load_model": "transferkit.model",
    "load_strategy": "transferkit.plan",
}

__all__ = [
    "Backbone",
    "FinetuneModule",
    "ImageSet",
    "LinearProbe",
    "Plan",
    "Preprocessing",
    "ProbeModule",
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
