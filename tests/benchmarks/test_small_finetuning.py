from typing import Any

from benchmarks.plain_finetuning import batches
from benchmarks.small_finetuning import table


def record(method: str, seed: int, top1: float) -> dict[str, Any]:
    return {"data": "x", "per_class": "5", "seed": seed, "method": method, "top1": top1, "nll": 0.5}


def test_the_table_has_the_means_of_the_seeds_that_all_methods_have() -> None:
    records = [record("lp_ft", 0, 0.9), record("lp_ft", 1, 0.8), record("plain_full", 0, 0.7)]
    lines = table(records)
    assert "| 5 | 1 | 90.0 (0.50) | 70.0 (0.50) |" in lines
    assert any("lp_ft minus plain_full: +20.00 points, mean of 1 fits" in line for line in lines)


def test_batches_pass_over_all_images_in_turn() -> None:
    rows = batches(10, 7)
    assert [len(batch) for batch in rows] == [10] * 7
    assert all(sorted(batch.tolist()) == list(range(10)) for batch in rows)
    assert [len(batch) for batch in batches(50, 3)] == [32] * 3
