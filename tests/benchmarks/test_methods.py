from typing import Any

from benchmarks.methods import METHODS, reference, table


def record(method: str, seed: int, top1: float) -> dict[str, Any]:
    return {"per_class": "5", "seed": seed, "method": method, "top1": top1, "nll": 0.5}


def test_a_gain_is_that_over_the_plain_recipe_with_the_same_seed() -> None:
    records = [record("plain", 0, 0.8), record("plain", 1, 0.7), record("l2_sp", 0, 0.82), record("l2_sp", 1, 0.74)]
    records += [record("from_scratch", 0, 0.5), record("from_scratch he", 0, 0.6)]
    lines = table(records)
    assert "| 5 | plain | 75.0 | 0.500 |  | 2 |" in lines
    assert "| 5 | l2_sp | 78.0 | 0.500 | +3.0 ± 1.0 | 2 |" in lines
    assert "| 5 | from_scratch he | 60.0 | 0.500 | +10.0 | 1 |" in lines


def test_every_method_is_compared_with_one_that_is_measured() -> None:
    assert {reference(method) for method in METHODS} <= set(METHODS)
