"""How well `known` tells images of another data set from those of the classes that a model was fitted to.

    python -m benchmarks.unknown

Prints the table of docs/predict.md: for a linear probe on each data set, the share of its test images that are known
(95 % are asked for), and for each other data set the area under the ROC curve of the distance and the share of its
images that are taken for known. All images are prepared as those of the data set that the model was fitted to.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.fits import open_case
from benchmarks.quadrant import SETS
from benchmarks.textures import write_textures
from transferkit.arrays import Features
from transferkit.config.compose import load_strategy_settings
from transferkit.data.imageset import ImageSet
from transferkit.data.load_data import load_data
from transferkit.features.from_settings import make_extractor
from transferkit.models.transfer_model import TransferModel
from transferkit.strategies.held_out import add_held_out_parts
from transferkit.strategies.registry import fit_strategy


def fit(overrides: list[str], number: str) -> TransferModel:
    """Fit a linear probe to so many images of each class."""
    context = open_case("linear_probe", [*overrides, f"dataset.per_class={number}"], Path())
    return add_held_out_parts(context, fit_strategy(context)).model


def distances(model: TransferModel, images: ImageSet, overrides: list[str]) -> Features:
    """The distance (N,) of each image."""
    assert model.known is not None
    stage = model.stages[-1]
    rows = make_extractor(load_strategy_settings("linear_probe", overrides))(model.backbone, images, [stage])[stage]
    found: Features = model.known(torch.from_numpy(np.array(rows))).numpy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["resnet_glyphs", "resnet_fractals"])
    parser.add_argument("--per-class", nargs="+", default=["5", "20", "100"])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print("| network | known classes | images per class | known, % | unknown | AUROC, % | taken for known, % |")
    print("|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as folder:
        write_textures(Path(folder))
        textures = ["dataset=folder", f"dataset.root={folder}"]
        for network in options.backbones:
            sets = {name: [*SETS[name], "dataset.max_test=600"] for name in ("digits", "fractals")}
            sets["textures"] = [*textures, "dataset.max_test=600"]
            case = {name: [*some, f"backbone={network}", "cache.enabled=false"] for name, some in sets.items()}
            tests = {
                name: load_data(load_strategy_settings("linear_probe", some)["dataset"], 0).test
                for name, some in case.items()
            }
            for name in ("digits", "textures", "fractals"):
                for number in options.per_class:
                    model = fit(case[name], number)
                    assert model.known is not None
                    own = distances(model, tests[name], case[name])
                    for other in sorted(tests.keys() - {name}):
                        found = distances(model, tests[other], case[name])
                        auroc = roc_auc_score(np.repeat([0, 1], [len(own), len(found)]), np.concatenate([own, found]))
                        shares = [100 * np.mean(rows <= model.known.threshold) for rows in (own, found)]
                        row = (
                            network,
                            name,
                            number,
                            f"{shares[0]:.1f}",
                            other,
                            f"{100 * auroc:.1f}",
                            f"{shares[1]:.1f}",
                        )
                        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
