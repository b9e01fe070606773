from typing import Any

from benchmarks.quadrant import table


def record(strategy: str, seed: int, top1: float, cpu: float, **more: Any) -> dict[str, Any]:
    about = {"strategy": strategy, "method": "digits through resnet_glyphs", "per_class": "5", "seed": seed}
    return {**about, "top1": top1, "cpu": cpu, "chosen": None, **more}


def test_the_loss_of_auto_is_that_against_the_best_strategy_of_the_same_seed() -> None:
    records = [record("linear_probe", 0, 0.8, 1), record("retrain", 0, 0.9, 9)]
    records += [record("linear_probe", 1, 0.9, 1), record("retrain", 1, 0.7, 9)]
    records += [record("auto", 0, 0.8, 2, chosen="linear_probe"), record("auto", 1, 0.92, 4, chosen="a+b")]
    lines = table(records)
    assert "| digits through resnet_glyphs | 5 | **85.0** | 80.0 | 86.0 | `linear_probe`, `a+b` | 4.0 | 0.30 |" in lines
    assert "auto: mean loss 4.00 points, worst 10.0, mean cost 0.30" in lines[-1]


def test_without_auto_there_is_no_loss() -> None:
    lines = table([record("linear_probe", 0, 0.8, 1), record("retrain", 0, 0.9, 9)])
    assert lines[-1] == "| digits through resnet_glyphs | 5 | 80.0 | **90.0** |  |  |  |"
