"""The rules of the quadrant, run over the cases that calibrated them and over what may be missing."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest

from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import COST_ORDER, FINETUNING, PROBES, gain_of
from transferkit.advisor.quadrant import TABLE, judge
from transferkit.advisor.quadrant_cases import CASES, Case
from transferkit.advisor.reasons import sureness
from transferkit.advisor.rules import RULES, loss

IDS = [case.name for case in CASES]

MISPLACED = {"digits, glyphs, all", "fractals, glyphs, 100"}
"""The probe is right on 99 %, so the digits look similar only in size; the fractals look similar to letters."""

MISSED: set[str] = set()

SIMILAR_SMALL = Evidence(244, 2, 1280, 49, {"stage4": 0.90, "stage5": 0.96}, neighbors=0.95, distance=0.03)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_case_falls_into_the_corner_that_a_person_names(case: Case) -> None:
    verdict = judge(case.evidence)
    assert ((verdict.size, verdict.similarity) == case.corner) is (case.name not in MISPLACED)
    assert verdict.strategy == TABLE[verdict.size, verdict.similarity]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_one_of_the_first_three_is_as_good_as_the_winner(case: Case) -> None:
    first = [name for name in judge(case.evidence).contenders if name in case.top1][:3]
    # A standard error of a difference, on some 150 test images.
    assert (max(case.top1[name] for name in first) >= max(case.top1.values()) - 0.03) is (case.name not in MISSED)


def test_the_first_choice_loses_little_on_average() -> None:
    first = [next(name for name in judge(case.evidence).contenders if name in case.top1) for case in CASES]
    lost = sum(loss(case, name) for case, name in zip(CASES, first, strict=True))
    everywhere = [name for name in COST_ORDER if all(name in case.top1 for case in CASES)]
    assert lost / len(CASES) <= 0.015
    assert lost < min(sum(loss(case, name) for case in CASES) for name in everywhere), "one strategy is as good"
    assert lost < sum(loss(case, TABLE[case.corner]) for case in CASES) / 2, "the table alone is nearly as good"


@pytest.mark.parametrize("judged", [10, 100, 1000])
def test_neighbours_count_for_what_their_lead_leaves_beside_luck(judged: int) -> None:
    evidence = dataclasses.replace(SIMILAR_SMALL, judged=judged, probes={"stage5": 0.8}, neighbors=0.9)
    worth = judge(evidence).contenders["nearest_neighbor"]
    assert 0.8 < worth < 0.9
    more = judge(dataclasses.replace(evidence, judged=10 * judged)).contenders["nearest_neighbor"]
    assert more > worth, "the more images, the more of it counts"


def test_neighbours_are_the_mean_of_a_posterior() -> None:
    evidence = dataclasses.replace(SIMILAR_SMALL, judged=50, probes={"stage5": 0.8}, neighbors=0.88)
    grid = np.linspace(-1, 1, 20001)
    # As many mistakes as the probe, give or take a third; measured 8 points more, with its standard error.
    density = np.exp(-(grid**2) / (2 * (0.35 * 0.2) ** 2) - (grid - 0.08) ** 2 / (2 * evidence.standard_error**2))
    expected = 0.8 + float((grid * density).sum() / density.sum())
    assert judge(evidence).contenders["nearest_neighbor"] == pytest.approx(expected, abs=1e-5)


def test_neighbours_that_were_not_measured_are_no_choice() -> None:
    missing = judge(dataclasses.replace(SIMILAR_SMALL, neighbors=None)).contenders
    assert set(missing) == set(COST_ORDER) - {"nearest_neighbor"}


def test_equally_good_neighbours_come_after_the_probe() -> None:
    equal = judge(dataclasses.replace(SIMILAR_SMALL, neighbors=0.96))
    assert list(equal.contenders)[:3] == list(PROBES)


def test_of_equally_good_stages_the_deepest_is_the_best() -> None:
    evidence = dataclasses.replace(SIMILAR_SMALL, probes={"stage3": 0.7, "stage4": 0.9, "stage5": 0.9})
    assert evidence.best_stage == "stage5"
    likelier = dataclasses.replace(evidence, losses={"stage3": 1.0, "stage4": 0.2, "stage5": 0.3})
    assert (likelier.best_stage, likelier.lead) == ("stage4", 0)
    assert judge(likelier).different == judge(evidence).different, "the loss alone is no sign of another domain"
    assert dataclasses.replace(evidence, probes={"stage4": 0.9, "stage5": 0.8}).best_stage == "stage4"


def test_small_and_similar_stays_with_the_probe() -> None:
    verdict = judge(SIMILAR_SMALL)
    assert (verdict.size, verdict.similarity, verdict.recommended) == ("small", "similar", "linear_probe")
    assert verdict.sureness == "clear"


def test_small_and_different_goes_to_many_layers_against_the_table() -> None:
    far = dataclasses.replace(SIMILAR_SMALL, probes={"stage4": 0.80, "stage5": 0.85}, neighbors=0.75, distance=0.3)
    verdict = judge(far)
    assert verdict.strategy == "stage_probe"
    assert verdict.recommended in ("finetune_many", "lp_ft")
    assert set(list(verdict.contenders)[:3]) == {"finetune_many", "lp_ft", "retrain"}


def test_large_and_similar_data_follow_the_table() -> None:
    verdict = judge(Evidence(50_000, 10, 512, 5000, {"stage4": 0.65, "stage5": 0.9}, distance=0.01))
    assert (verdict.size, verdict.similarity) == ("large", "similar")
    assert verdict.strategy == "finetune_few"
    assert verdict.recommended in FINETUNING


def test_large_and_different_data_train_many_layers() -> None:
    verdict = judge(Evidence(50_000, 10, 512, 5000, {"stage4": 0.65, "stage5": 0.6}, distance=0.5))
    assert (verdict.size, verdict.similarity) == ("large", "different")
    assert set(list(verdict.contenders)[:3]) == {"finetune_many", "lp_ft", "retrain"}


def test_a_lower_stage_counts_for_its_lead_and_for_what_is_usual() -> None:
    probes = {"stage4": 0.7, "stage5": 0.6}
    few, many = (judge(Evidence(40, 10, 512, n, probes, distance=3.0)).contenders["stage_probe"] for n in (50, 5000))
    assert 0.6 < few < many < 0.7
    assert many == pytest.approx(0.7, abs=0.002)
    none = judge(Evidence(40, 10, 512, 5000, {"stage4": 0.5, "stage5": 0.6}, distance=3.0)).contenders
    assert none["stage_probe"] == none["linear_probe"]


def test_more_images_never_make_the_data_smaller() -> None:
    values = [judge(dataclasses.replace(SIMILAR_SMALL, images=n)).large for n in (10, 100, 1000, 10_000, 100_000)]
    assert values == sorted(values)
    assert values[0] < 0.05 < 0.95 < values[-1]


def test_a_larger_distance_never_makes_the_data_more_similar() -> None:
    values = [judge(dataclasses.replace(SIMILAR_SMALL, distance=d)).different for d in (0.0, 0.01, 0.1, 0.5, 5.0)]
    assert values == sorted(values)


def test_every_witness_may_be_missing() -> None:
    for missing in itertools.product([True, False], repeat=3):
        names = [name for name, gone in zip(("neighbors", "distance", "late"), missing, strict=True) if gone]
        changes: dict[str, Any] = dict.fromkeys(names)
        verdict = judge(dataclasses.replace(SIMILAR_SMALL, **changes))
        assert verdict.similarity == "similar"
        assert not any("None" in reason for reason in verdict.reasons)
    fewer, more = (judge(dataclasses.replace(SIMILAR_SMALL, distance=d)) for d in (None, 0.01))
    assert fewer.probability < more.probability


def test_random_weights_have_no_similarity() -> None:
    verdict = judge(dataclasses.replace(SIMILAR_SMALL, pretrained=False, distance=None))
    assert verdict.similarity == "different"
    assert any("random weights" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("top", [0.0, 0.5, 1.0])
def test_extremes_are_judged_too(top: float) -> None:
    verdict = judge(Evidence(2, 2, 2048, 1, {"stage5": top}, neighbors=top, distance=0.0, early=0.0, late=0.0))
    assert set(verdict.contenders) == set(COST_ORDER)
    assert all(math.isfinite(value) for value in verdict.contenders.values())
    assert verdict.size == "small"


def test_expected_gains_of_the_corners_are_mixed_by_their_probabilities() -> None:
    corners = [gain_of(RULES.gains, "finetune_many", large, different) for large in (0, 1) for different in (0, 1)]
    assert gain_of(RULES.gains, "finetune_many", 0.5, 0.5) == pytest.approx(sum(corners) / 4)


def test_sureness_in_words() -> None:
    assert [sureness(p) for p in (0.95, 0.75, 0.3)] == ["clear", "likely", "uncertain"]
