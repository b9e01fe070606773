"""Test accuracy of the probes with few images per class, over several draws of them.

    python -m benchmarks.small_probes --folders FOLDER ... --sets digits textures --backbones efficientnet_lite0

Prints the table of docs/probes.md. A folder holds train/ and val/ or test/ with a folder per class. `before` is the
linear probe with C chosen on val and features scaled by their own deviations, whatever the number of images, as
version 0.1.0 began. Features are computed once for all draws; draws differ in the images, by the seed.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quadrant import SETS
from benchmarks.textures import write_textures
from transferkit import LinearProbe
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone_from_config
from transferkit.config.compose import load_strategy_settings
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.data.load_data import load_data
from transferkit.features.from_settings import Extract, make_extractor
from transferkit.models.protocols import center_probabilities
from transferkit.probes.chosen import choose, fit_choice, make_candidate
from transferkit.probes.fold_scores import score_classifiers
from transferkit.probes.linear import value_grid
from transferkit.probes.logistic.basis import Stack
from transferkit.probes.scaling import ShrunkScaler
from transferkit.strategies.context import Context
from transferkit.strategies.frozen_features import find_choosing_folds
from transferkit.strategies.registry import fit_strategy
from transferkit.timing import StepTimer

STRATEGIES = ("linear_probe", "stage_probe", "concat_probe", "nearest_neighbor")
Rows = npt.NDArray[np.float32]


class Remembered:
    """An `Extract` that computes the features of an image once."""

    def __init__(self, extract: Extract) -> None:
        self.extract = extract
        self.rows: dict[tuple[str, str], dict[str, Rows]] = {}

    def __call__(
        self, backbone: Backbone, images: ImageSet, stages: list[str], pool: str = "auto"
    ) -> Mapping[str, Rows]:
        """The features (N, D) of each stage."""
        ids, pool = images.ids(), backbone.pool_name(pool)
        for stage in stages:
            kept = self.rows.setdefault((stage, pool), {})
            missing = [i for i, identity in enumerate(ids) if identity not in kept]
            if missing:  # of all stages, since one pass over the images serves them all
                every = list(backbone.feature_stages)
                found = self.extract(backbone, images.subset(missing), every, pool)
                for name in every:
                    place = self.rows.setdefault((name, pool), {})
                    place |= {ids[i]: row for i, row in zip(missing, np.asarray(found[name]), strict=True)}
        return {stage: np.stack([self.rows[stage, pool][identity] for identity in ids]) for stage in stages}


def before(backbone: Backbone, data: ImageData, extract: Extract) -> float:
    """Test accuracy of the linear probe as it was."""
    train, val, test = (extract(backbone, images, [backbone.top])[backbone.top] for images in data.splits.values())
    probe = LinearProbe(standardize=ShrunkScaler(0)).fit(train, data.train.labels, val, data.val.labels)
    return float(probe.score(test, data.test.labels))


def with_shrinkage(context: Context, shrinkage: float) -> float:
    """Test accuracy of the linear probe, C chosen over folds, with the deviations shrunk as for so many images."""
    stage, data = context.backbone.top, context.data
    train, val, test = (context.extract(context.backbone, images, [stage])[stage] for images in data.splits.values())
    X, labels, folds = Stack([train, val]), data.fit_labels(), find_choosing_folds(context)
    grids = {"logistic": value_grid(45)}
    scores = score_classifiers(X, labels, folds.folds, ShrunkScaler(shrinkage), grids)
    weights, bias = fit_choice(choose([make_candidate(stage, X, scores, folds.by)], folds.by), labels)
    return float(((test @ weights.T + bias).argmax(axis=1) == data.test.labels).mean())


def draw(
    backbone: Backbone, overrides: list[str], extract: Extract, seed: int, options: argparse.Namespace
) -> Iterator[tuple[str, float]]:
    """Test accuracy of each strategy, on the images that a seed draws."""
    for strategy in options.strategies:
        settings = load_strategy_settings(strategy, [*overrides, f"seed={seed}"])
        data = load_data(settings["dataset"], seed)
        context = Context(backbone, data, settings, extract, StepTimer(), Path())
        if strategy == options.strategies[0]:
            yield "before", before(backbone, data, extract)
            for shrinkage in options.shrinkages:
                yield f"shrinkage {shrinkage:g}", with_shrinkage(context, shrinkage)
        fitted = fit_strategy(context)
        probabilities = center_probabilities(fitted.model, data.test, extract)
        yield strategy, float((probabilities.argmax(axis=1) == data.test.labels).mean())


def run_case(name: str, overrides: list[str], options: argparse.Namespace) -> None:
    """Print a row for each number of images per class."""
    for network in options.backbones:
        given = [*overrides, f"backbone={network}", *options.overrides, "cache.enabled=false"]
        settings = load_strategy_settings("linear_probe", given)
        backbone, extract = create_backbone_from_config(settings["backbone"]), Remembered(make_extractor(settings))
        for number in options.per_class:
            seeds, start = range(1 if number == "all" else options.draws), time.process_time()
            case, found = [*given, f"dataset.per_class={'null' if number == 'all' else number}"], dict[str, Any]()
            for seed in seeds:
                for strategy, top1 in draw(backbone, case, extract, seed, options):
                    found.setdefault(strategy, []).append(100 * top1)
            seconds = (time.process_time() - start) / len(seeds)
            shown = " | ".join(f"{np.mean(values):.1f}" for values in found.values())
            print(f"| {name} through {network} | {number} | {len(seeds)} | {shown} | {seconds:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folders", nargs="*", default=[], type=Path)
    parser.add_argument("--sets", nargs="*", default=[], choices=[*SETS, "textures"])
    parser.add_argument("--backbones", nargs="+", default=["efficientnet_lite0"])
    parser.add_argument("--per-class", nargs="+", default=["5", "20", "all"])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--shrinkages", nargs="*", default=[], type=float, help="of the scale, for the linear probe")
    parser.add_argument(
        "--overrides", nargs="*", default=[], help="of the configuration, such as backbone.weights=FILE"
    )
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    names = ["before", *(f"shrinkage {shrinkage:g}" for shrinkage in options.shrinkages), *options.strategies]
    print("| case | images per class | draws |", " | ".join(names), "| s per draw |")
    print("|---|" + "---|" * (len(names) + 3))
    with tempfile.TemporaryDirectory() as folder:
        for path in options.folders:
            run_case(path.name, ["dataset=folder", f"dataset.root={path}"], options)
        for name in options.sets:
            if name == "textures":
                write_textures(Path(folder))
            run_case(name, SETS.get(name, ["dataset=folder", f"dataset.root={folder}"]), options)


if __name__ == "__main__":
    main()
