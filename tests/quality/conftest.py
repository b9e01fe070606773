"""The digits with features of the embedded network, and what is needed to check them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import transferkit as tk
from transferkit.arrays import Features, Labels
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.quality.problems import AllImages

SELECTION = {"name": "auto", "min_val": 200, "folds": 5, "repeats": "auto", "finetune_folds": 3}


@dataclass(frozen=True)
class Digits:
    """Some of the digits; `features` of the top stage of train, val and test."""

    data: ImageData
    features: list[Features]

    def relabelled(self, labels: Labels, class_names: list[str] | None = None) -> AllImages:
        """All images with other labels (N,)."""
        parts = np.split(labels, np.cumsum([len(images) for images in self.data.splits.values()])[:-1])
        sets: dict[str, Any] = {
            name: images.subset(np.arange(len(images))).relabel(part)
            for (name, images), part in zip(self.data.splits.items(), parts, strict=True)
        }
        return AllImages(replace(self.data, class_names=class_names or self.data.class_names, **sets))


def features_of(images: ImageSet) -> Features:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    return np.asarray(tk.extract_features(backbone, images, stages=["stage5"], num_workers=0)["stage5"])


@pytest.fixture(scope="session")
def digits(isolated_home) -> Digits:
    data = tk.load_data({"kind": "digits", "name": "digits", "per_class": 60, "max_test": 200}, seed=0)
    return Digits(data, [features_of(images) for images in data.splits.values()])
