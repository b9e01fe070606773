from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fits import open_case
from benchmarks.protocols import cases, measure, table
from transferkit.models.protocols import center_probabilities
from transferkit.models.transfer_model import load_model


def test_a_gain_is_that_over_the_centre_crop_of_the_same_model() -> None:
    def record(method: str, seed: int, top1: float) -> dict[str, Any]:
        figures = {"top1": top1, "nll": 0.5, "views": 2, "seconds": 3.0}
        return {"per_class": "5", "seed": seed, "method": method, **figures}

    records = [record("center", 0, 0.8), record("center", 1, 0.6), record("dense", 0, 0.82), record("dense", 1, 0.64)]
    lines = table(records)
    assert "| 5 | center | 70.0 |  | 0.500 | 2 | 3.0 | 2 |" in lines
    assert "| 5 | dense | 73.0 | +3.0 ± 1.0 | 0.500 | 2 | 3.0 | 2 |" in lines


def test_every_protocol_tests_the_same_fitted_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Namespace(
        **{"strategy": "linear_probe", "seeds": 1, "per_class": ["5"], "quick": False, "out": tmp_path},
        **{"protocols": ["ten_crop"], "overrides": ["dataset.max_test=40", "selection=val"]},
    )
    center, ten_crop = cases(options)
    first = measure(center, options)
    folder = next((tmp_path / "unfinished").iterdir())
    context = open_case("linear_probe", center.overrides, folder)
    by_hand = center_probabilities(load_model(folder), context.data.test, context.extract)
    assert first["top1"] == pytest.approx(np.mean(by_hand.argmax(1) == context.data.test.labels))
    monkeypatch.setattr("benchmarks.fits.fit_strategy", None)  # it is not fitted again
    assert measure(ten_crop, options)["views"] == 10
