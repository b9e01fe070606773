"""Loss and calibration error on test, without and with the temperature, of strategies on few and many images.

    python -m benchmarks.calibration --seeds 3

Prints the table of docs/predict.md: a row for each data set, number of images per class and strategy, means over seeds.
"""

import argparse
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.fits import open_case
from benchmarks.quadrant import SETS
from benchmarks.small_probes import Remembered
from benchmarks.textures import write_textures
from transferkit.config.compose import load_strategy_settings
from transferkit.features.from_settings import make_extractor
from transferkit.models.protocols import center_probabilities
from transferkit.strategies.calibrate import KEY, calibrate, with_test
from transferkit.strategies.registry import fit_strategy

STRATEGIES = ("linear_probe", "concat_probe", "nearest_neighbor", "finetune_few")


def measure(strategy: str, overrides: list[str], seed: int, extract: Remembered) -> list[float]:
    """Temperature; then loss without and with it, and calibration error without and with it, on test."""
    given = [*overrides, f"seed={seed}", "cache.enabled=false"]
    with tempfile.TemporaryDirectory() as folder:
        context = open_case(strategy, given, Path(folder))
        if context.plan is None:  # features that a training changes are not remembered
            context = replace(context, extract=extract)
        fitted = fit_strategy(context)
    data = context.data
    fitted = calibrate(fitted, data.val.labels)
    probabilities = center_probabilities(fitted.model, data.test, context.extract)
    facts = with_test(fitted.details[KEY], probabilities, data.test.labels)
    before, after = facts["test"]["before"], facts["test"]["after"]
    return [facts["temperature"], before["nll"], after["nll"], 100 * before["ece"], 100 * after["ece"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["digits", "textures"], choices=[*SETS, "textures"])
    parser.add_argument("--backbone", default="resnet_fractals")
    parser.add_argument("--per-class", nargs="+", default=["5", "20", "null"])
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(
        "| case | images per class | strategy | temperature | nll without | nll with | ECE without, % | ECE with, % |"
    )
    print("|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as folder:
        write_textures(Path(folder))
        for name in options.sets:
            case = [*SETS.get(name, ["dataset=folder", f"dataset.root={folder}"]), f"backbone={options.backbone}"]
            extract = Remembered(make_extractor(load_strategy_settings("linear_probe", [*case, "cache.enabled=false"])))
            for number in options.per_class:
                for strategy in options.strategies:
                    given = [*case, f"dataset.per_class={number}"]
                    found = [measure(strategy, given, seed, extract) for seed in range(options.seeds)]
                    shown = " | ".join(f"{value:.3f}" for value in np.mean(found, axis=0))
                    print(f"| {name} | {number} | {strategy} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
