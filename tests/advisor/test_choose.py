"""The decisions of strategy=auto."""

from dataclasses import replace

import numpy as np
import pytest

from transferkit.advisor.choose import (
    Budget,
    affordable,
    best_probe,
    budget_share,
    can_decide,
    expected_gain,
    make_budget,
    scratch_is_open,
    skipped_text,
    too_expensive,
    weigh_gain,
    worth_trying,
)
from transferkit.advisor.evidence import Evidence
from transferkit.advisor.quadrant import judge

COSTS = {"linear_probe": 1.0, "stage_probe": 2.0, "finetune_few": 10.0, "finetune_many": 20.0, "lp_ft": 40.0}
NAMES = ["lp_ft", "finetune_many", "finetune_few"]


def probabilities(right: int, n: int = 100) -> np.ndarray:
    """Of two classes, the true one 0 in the first `right` of `n` images."""
    return np.array([[0.9, 0.1]] * right + [[0.1, 0.9]] * (n - right))


LABELS = np.zeros(100, dtype=np.int64)


def test_all_are_tried_where_there_is_budget_for_them_and_the_dearest_in_full() -> None:
    need = 2.0 + 0.25 * 70 + 40
    assert affordable(NAMES, Budget(need, COSTS), 0.25, 3) == NAMES
    assert affordable(NAMES, Budget(need - 0.1, COSTS), 0.25, 3) == ["finetune_many", "finetune_few"]


def test_a_single_one_needs_no_trial() -> None:
    assert affordable(NAMES, Budget(12.0, COSTS), 0.25, 3) == ["finetune_few"]
    assert affordable(NAMES, Budget(11.9, COSTS), 0.25, 3) == []
    assert affordable(NAMES, Budget(1000.0, COSTS), 0.25, 1) == ["lp_ft"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.6, 1.0])
def test_what_is_chosen_never_costs_more_than_the_budget(share: float) -> None:
    budget = make_budget(COSTS, share)
    names = affordable(NAMES, budget, 0.25, 3)
    if names:
        trials = 0.25 * sum(COSTS[name] for name in names) if len(names) > 1 else 0.0
        assert 2.0 + trials + max(COSTS[name] for name in names) <= share * sum(COSTS.values())


def test_finetuning_is_not_tried_where_a_point_cannot_be_gained() -> None:
    good = Evidence(500, 10, 512, 300, {"stage4": 0.95, "stage5": 0.99}, neighbors=0.99, distance=0.01)
    poor = Evidence(500, 10, 512, 300, {"stage4": 0.55, "stage5": 0.5}, neighbors=0.4, distance=0.4)
    assert worth_trying(good, judge(good), tried=True) == []
    assert worth_trying(poor, judge(poor), tried=True)[0] in ("finetune_many", "lp_ft", "retrain")


def test_training_from_scratch_is_tried_where_images_are_many_small_and_different() -> None:
    many = Evidence(2000, 20, 192, 400, {"stage4": 0.6, "stage5": 0.45}, neighbors=0.3, distance=0.4)
    few, similar = replace(many, images=100, judged=40), replace(many, distance=0.01, neighbors=0.98)
    similar = replace(similar, probes={"stage4": 0.9, "stage5": 0.98})
    assert [scratch_is_open(judge(one), (32, 32)) for one in (many, few, similar)] == [True, False, False]
    assert not scratch_is_open(judge(many), (224, 224))
    names = worth_trying(many, judge(many), tried=True, scratch=True)
    assert names[1] == "from_scratch"
    assert [name for name in names if name != "from_scratch"] == worth_trying(many, judge(many), tried=True)
    assert "from_scratch" not in worth_trying(many, judge(many), tried=False, scratch=True)


def test_a_budget_that_is_given_holds_in_any_case() -> None:
    assert [budget_share("auto", scratch) for scratch in (False, True)] == [0.25, 0.5]
    assert [budget_share(0.1, scratch) for scratch in (False, True)] == [0.1, 0.1]


def test_what_is_over_the_budget_alone_is_named() -> None:
    skipped = too_expensive(NAMES, Budget(25.0, COSTS))
    assert skipped == {"lp_ft": 40.0}
    assert skipped_text(skipped) == "no time for lp_ft (40.0 s expected)"
    assert skipped_text({}) == ""


def test_a_val_that_decides_nothing_needs_an_expected_gain() -> None:
    # The probe of a lower stage leads, and finetuning may be better or not.
    open_case = Evidence(160, 10, 192, 200, {"stage4": 0.93, "stage5": 0.9}, neighbors=0.85, distance=0.3)
    verdict = judge(open_case)
    assert verdict.contenders["finetune_many"] - verdict.contenders[best_probe(verdict)] < 0.01
    assert worth_trying(open_case, verdict, tried=True), "images held out will say"
    assert worth_trying(open_case, verdict, tried=False) == []
    poor = Evidence(80, 10, 1280, 100, {"stage5": 0.42}, distance=0.3)
    assert worth_trying(poor, judge(poor), tried=False)
    assert [can_decide(val) for val in (2, 29, 30, 400)] == [False, False, True, True]


def test_the_best_probe_may_be_neighbours() -> None:
    evidence = Evidence(8, 2, 1280, 10, {"stage4": 1.0, "stage5": 0.8}, neighbors=1.0, distance=0.04)
    assert best_probe(judge(evidence)) == "nearest_neighbor"
    assert worth_trying(evidence, judge(evidence), tried=False) == []


def test_what_is_too_dear_by_itself_makes_room_for_the_next() -> None:
    assert affordable(NAMES, Budget(25.0, COSTS), 0.25, 1) == ["finetune_many"]


def test_without_a_prior_a_gain_counts_beyond_one_standard_error() -> None:
    assert not weigh_gain(probabilities(81), probabilities(80), LABELS).worth_it
    assert weigh_gain(probabilities(90), probabilities(80), LABELS).worth_it


def test_the_standard_error_is_that_of_paired_differences() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = (np.eye(2)[rng.integers(0, 2, 400)] for _ in range(2))
    gain = weigh_gain(ours, theirs, np.zeros(400, dtype=np.int64))
    differences = ours[:, 0] - theirs[:, 0]
    assert gain.measured == pytest.approx(differences.mean())
    assert gain.standard_error == pytest.approx(differences.std() / 20, rel=0.02)


def test_a_small_val_moves_an_expectation_less_than_a_large_one() -> None:
    small = weigh_gain(probabilities(9, 10), probabilities(8, 10), LABELS[:10], expected=-0.05, spread=0.05)
    large = weigh_gain(probabilities(90), probabilities(80), LABELS, expected=-0.05, spread=0.05)
    assert small.measured == pytest.approx(large.measured)
    assert small.shrunk < 0 < large.shrunk


def test_the_weighted_gain_is_the_mean_of_the_posterior() -> None:
    gain = weigh_gain(probabilities(90), probabilities(80), LABELS, expected=0.02, spread=0.04)
    grid = np.linspace(-1, 1, 20001)
    density = np.exp(-((grid - 0.02) ** 2) / (2 * 0.04**2) - (grid - 0.1) ** 2 / (2 * gain.standard_error**2))
    assert gain.shrunk == pytest.approx(float((grid * density).sum() / density.sum()), abs=1e-4)


def test_what_was_expected_comes_from_the_verdict() -> None:
    evidence = Evidence(500, 10, 512, 300, {"stage4": 0.5, "stage5": 0.6}, distance=0.4)
    verdict = judge(evidence)
    gain, spread = expected_gain(evidence, verdict, "finetune_many", "linear_probe")
    assert gain == pytest.approx(verdict.contenders["finetune_many"] - 0.6)
    assert 0 < spread < 0.4


def test_of_equally_dear_ones_the_last_leaves() -> None:
    costs = {**COSTS, "retrain": 41.0}
    names = ["retrain", "lp_ft", "finetune_many"]
    assert affordable(names, Budget(60.0, costs), 0.25, 3) == ["retrain", "finetune_many"]
