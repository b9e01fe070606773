"""The description inside an exported file: class names, preprocessing, origin; as text, which every format can hold."""

import json
from collections.abc import Mapping
from typing import Any

from transferkit import __version__
from transferkit.models.transfer_model import TransferModel


def describe_model(model: TransferModel) -> dict[str, Any]:
    """Return the entries as plain values.

    Returns:
        `class_names` (K), of labels or values where the target is no class; `target`, its kind; `preprocessing`,
        `backbone`, `transferkit`.
    """
    spec = model.backbone.spec
    return {
        "class_names": model.class_names,
        "target": model.target.kind,
        "preprocessing": model.preprocess.to_dict(),
        "backbone": {
            "source": spec.source,
            "name": spec.name,
            "weights": model.backbone.weights_name,
            "stages": model.stages,
            "pool": model.pool,
        },
        "transferkit": __version__,
    }


def as_text(about: Mapping[str, Any]) -> dict[str, str]:
    """Return each entry as JSON in ASCII, which holds folder names that are not UTF-8, too."""
    return {name: json.dumps(value) for name, value in about.items()}
