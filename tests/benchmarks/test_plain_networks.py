from argparse import Namespace
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.fits import open_case
from benchmarks.plain_networks import cases, deeper, measure, table


def options(out: Path, *overrides: str) -> Namespace:
    return Namespace(seeds=1, quick=True, out=out, overrides=list(overrides))


def record(method: str, seed: int, train: float, test: float, diverged: bool = False) -> dict[str, Any]:
    found = {"per_class": "all", "seconds": 9.0, "train_top1": train, "top1": test, "diverged": diverged}
    return {"method": method, "seed": seed, **found}


def test_errors_and_what_depth_adds_to_them() -> None:
    records = [record("plain18", 0, 0.9, 0.8), record("plain34", 0, 0.8, 0.7), record("plain18", 1, 0.9, 0.8)]
    records += [record("plain34", 1, 0.76, 0.74), record("resnet18", 0, 0.9, 0.8), record("resnet34", 0, 0, 0, True)]
    lines = table(records)
    assert "| plain34 | 22.0 | 28.0 | 9 | 2 |" in lines
    assert "| resnet34 | - | - (1 diverged) | 9 | 1 |" in lines
    assert deeper(records)[0] == "plain34 minus plain18: training error +12.0 ± 2.0, test error +8.0 ± 2.0 points"
    assert "training error -," in deeper(records)[1]


def test_plain_and_residual_networks_differ_by_the_shortcuts(tmp_path: Path) -> None:
    pair = [case for case in cases("depth", options(tmp_path)) if case.method.endswith("34")]
    plain, residual = (open_case(case.strategy, case.overrides, tmp_path) for case in pair)
    weights = [sum(p.numel() for p in context.backbone.parameters()) for context in (plain, residual)]
    # A 1 x 1 convolution with batch norm where the number of channels changes.
    shortcuts = sum(a * b + 2 * b for a, b in pairwise((64, 16, 32, 64, 128)))
    assert weights[1] - weights[0] == shortcuts
    assert plain.settings["strategy"]["phases"]["all"]["train"]["head"] == 0.1


def test_a_rate_that_is_far_too_high_is_said_to_diverge(tmp_path: Path) -> None:
    *_, highest = cases("rates", options(tmp_path, "lr=100", "dataset.images=60", "strategy.batch_size=10"))
    assert highest.method.startswith("without")
    assert measure(highest, options(tmp_path))["diverged"]
