"""The decision of strategy=auto made again from what was recorded."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

import benchmarks
from benchmarks.small_auto import case_of, decide, recorded, rules_of
from transferkit.advisor.gains import FINETUNING
from transferkit.advisor.quadrant_cases import CASES
from transferkit.advisor.rules import RULES
from transferkit.strategies.auto_folds import hits
from transferkit.strategies.auto_outcome import PROBES


def record(**right: float) -> dict[str, Any]:
    """A case of 100 images in which a strategy is right on a share of them, out of fold as on test."""
    case = next(case for case in CASES if (case.data, case.source, case.per_class) == ("digits", "fractals", "20"))
    fits: dict[str, dict[str, Any]] = {}
    for name in (*PROBES, *FINETUNING):
        share = right.get(name, 0.8)
        found = [float(image < 100 * share) for image in range(100)]
        fits[name] = {"top1": share, "seconds": 10.0, "hits": found, "few_folds": found}
    about = {"data": case.data, "source": case.source, "per_class": case.per_class, "seed": 0}
    costs = dict.fromkeys((*FINETUNING, "from_scratch", "full_finetune", "gradual_unfreeze", "surgical"), 10.0)
    return {**about, "evidence": asdict(case.evidence), "costs": costs, "fits": fits}


def test_predictions_are_right_as_often_asrecorded() -> None:
    shares = [1.0, 0.0, None, 0.333, 0.5, 0.667]
    assert hits(recorded(shares)) == pytest.approx([1, 0, np.nan, 1 / 3, 1 / 2, 2 / 3], nan_ok=True)


def test_the_decision_is_that_of_auto() -> None:
    better = decide(record(retrain=0.95), RULES)
    assert (better.chosen, better.loss) == ("retrain", 0)
    assert better.cost == pytest.approx(2 / 8), "a quarter of the cost allows two of eight equal strategies"
    worse = decide(record(**dict.fromkeys(FINETUNING, 0.7)), RULES)
    assert worse.chosen == "concat_probe"
    assert decide(record(linear_probe=0.9), RULES).chosen == "linear_probe"


def test_a_case_is_judged_by_rules_without_its_source() -> None:
    mine = record()
    assert rules_of(mine, "nothing") == RULES
    assert rules_of(mine, "source") != RULES
    assert case_of(mine).corner == ("small", "different")


def test_the_published_loss_of_auto_on_few_images() -> None:
    """docs/advisor.md: by rules that were fitted without the source network, or the data, of the case."""
    path = Path(benchmarks.__file__).with_name("small_auto_cases.jsonl")
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for by in ("source", "data"):
        made = [decide(case, rules_of(case, by)) for case in cases]
        losses = [100 * decision.loss for decision in made]
        assert (round(fmean(losses), 1), round(max(losses), 1)) == (0.4, 2.5)
        assert fmean(decision.cost for decision in made) <= 0.25
