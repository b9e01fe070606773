"""Accuracy of the embedded weights: linear probes on the digits, which none of them was pretrained on.

    python benchmarks/embedded.py

Prints the table of docs/embedded.md. Every probe is made as `transferkit dataset=digits` makes it: 45 values of C,
chosen on val, refitted on train and val, measured on a test split of 359 images that depends on the seed.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neighbors import KNeighborsClassifier

from transferkit import ImageSet, LinearProbe, create_backbone, extract_features, load_data
from transferkit.data.imagedata import ImageData

Features = npt.NDArray[Any]
Describe = Callable[[ImageSet, int], Features]
"""From images and a seed (of random weights) to features."""

EMBEDDED = {
    "resnet_glyphs": "narrow_resnet10",
    "vgg_glyphs": "narrow_vgg8",
    "resnet_fractals": "narrow_resnet10",
}
INPUT: dict[str, Any] = {"input_size": 32, "mean": 0.5, "std": 0.25, "crop_pct": 1.0}


def describe_network(name: str, weights: str | None, stage: str | None = None) -> Describe:
    def describe(images: ImageSet, seed: int) -> Features:
        torch.manual_seed(seed)
        backbone = create_backbone(name, weights, **INPUT)
        wanted = stage or backbone.top
        return extract_features(backbone, images, [wanted], cache=None, progress=False)[wanted]

    return describe


def describe_pixels(images: ImageSet, seed: int) -> Features:
    return np.stack([np.asarray(images.image(i).convert("L"), float).ravel() for i in range(len(images))])


def probe(describe: Describe, data: ImageData, seed: int) -> float:
    train, val, test = (describe(images, seed) for images in (data.train, data.val, data.test))
    fitted = LinearProbe(random_state=seed).fit(train, data.train.labels, val, data.val.labels)
    return float(fitted.score(test, data.test.labels))


def nearest(data: ImageData, seed: int) -> float:
    pixels = {name: describe_pixels(images, seed) for name, images in data.splits.items()}
    labels = np.concatenate([data.train.labels, data.val.labels])
    model = KNeighborsClassifier(1).fit(np.concatenate([pixels["train"], pixels["val"]]), labels)
    return float(model.score(pixels["test"], data.test.labels))


def rows() -> dict[str, Callable[[ImageData, int], float]]:
    """Name to what measures it."""
    networks = {
        **{f"{weights}, top stage": describe_network(name, weights) for weights, name in EMBEDDED.items()},
        "vgg_glyphs, stage5": describe_network("narrow_vgg8", "vgg_glyphs", "stage5"),
        "narrow_resnet10, random weights": describe_network("narrow_resnet10", None),
        "narrow_vgg8, random weights": describe_network("narrow_vgg8", None),
        "narrow_vgg8, random weights, stage5": describe_network("narrow_vgg8", None, "stage5"),
        "raw pixels, logistic regression": describe_pixels,
    }
    probes = {name: partial(probe, describe) for name, describe in networks.items()}
    return {**probes, "raw pixels, nearest neighbour": nearest}


def main() -> None:
    parser = argparse.ArgumentParser(description="Linear probes on the digits through the embedded weights.")
    parser.add_argument("--seeds", type=int, default=5, help="splits and random weights (default: 5)")
    seeds = range(parser.parse_args().seeds)
    print(f"Test accuracy on digits in %, mean and standard deviation of {len(seeds)} seeds\n")
    print("| features | 10 images per class | all 1438 training images |\n|---|---|---|")
    for name, measure in rows().items():
        cells = []
        for per_class in (10, None):
            scores = [
                100 * measure(load_data({"kind": "digits", "per_class": per_class}, seed), seed) for seed in seeds
            ]
            cells.append(f"{np.mean(scores):.1f} ± {np.std(scores):.1f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
