"""Rules fitted to cases: judged on those left out, and against sums by hand."""

from statistics import fmean, pstdev

import pytest

from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import FINETUNING, GAIN_SPREAD
from transferkit.advisor.quadrant import judge
from transferkit.advisor.quadrant_cases import CASES, Case
from transferkit.advisor.rules import BORROWED, RULES, Rules, fit_rules, left_out_losses, loss, removed_error


def case(source: str, similar: bool, probe: float, lp_ft: float, distance: float = 0.1) -> Case:
    probes = {"stage4": 0.5, "stage5": 0.6}
    corner = ("small", "similar" if similar else "different")
    top1 = {"linear_probe": probe, "lp_ft": lp_ft}
    return Case("data", source, "5", 0, Evidence(50, 5, 100, 50, probes, 0.5, distance), top1, corner)


def first(rules: Rules, case: Case) -> str:
    return next(name for name in judge(case.evidence, rules).contenders if name in case.top1)


@pytest.mark.parametrize(("group", "published"), [("source", 1.5), ("data", 1.7)])
def test_the_published_loss_on_cases_left_out(group: str, published: float) -> None:
    losses = left_out_losses(CASES, lambda case: getattr(case, group), first)
    assert set(losses) == {case.name for case in CASES}
    assert round(100 * fmean(losses.values()), 1) == published
    in_sample = fmean(loss(case, first(RULES, case)) for case in CASES)
    assert in_sample < fmean(losses.values())


def test_a_left_out_case_does_not_shape_its_own_rules() -> None:
    kinds = [("a", True, 0.9, 0.8), ("b", False, 0.5, 0.9), ("c", True, 0.8, 0.8), ("d", False, 0.6, 0.9)]
    cases = [case(*kind) for kind in kinds]
    seen: dict[str, Rules] = {}

    def choose(rules: Rules, case: Case) -> str:
        seen[case.source] = rules
        return "lp_ft"

    losses = left_out_losses(cases, lambda case: case.source, choose)
    assert losses[cases[0].name] == pytest.approx(0.1)
    for left in cases:
        assert seen[left.source] == fit_rules([case for case in cases if case is not left])


def test_a_gain_is_a_share_of_the_probes_error() -> None:
    cases = [case("a", True, 0.9, 0.85), case("b", False, 0.5, 0.9), case("c", False, 0.6, 0.8)]
    shares = [removed_error(one, "lp_ft") for one in cases]
    assert shares == pytest.approx([-0.5, 0.8, 0.5])
    everywhere = (-0.5 + 0.8 + 0.5) / 3
    gains = fit_rules(cases).gains
    assert gains["small", "different"]["lp_ft"] == pytest.approx((1.3 + BORROWED * everywhere) / (2 + BORROWED))
    assert gains["large", "similar"]["lp_ft"] == pytest.approx(everywhere)


def test_what_was_not_run_removes_nothing_that_is_known() -> None:
    assert removed_error(case("a", True, 0.9, 0.8), "retrain") is None
    assert removed_error(case("a", True, 1.0, 0.0), "lp_ft") == -1


def test_a_threshold_lies_between_the_kinds() -> None:
    cases = [case("a", True, 0.9, 0.8, 0.01), case("b", True, 0.9, 0.8, 0.02)]
    cases += [case("c", False, 0.9, 0.8, 0.5), case("d", False, 0.9, 0.8, 0.8)]
    assert 0.02 < fit_rules(cases).distance < 0.5


def test_the_spread_of_gains_is_that_of_cases_left_out() -> None:
    left_over = []
    for source in {case.source for case in CASES}:
        rules = fit_rules([case for case in CASES if case.source != source])
        for case in (case for case in CASES if case.source == source):
            said, evidence = judge(case.evidence, rules).contenders, case.evidence
            for name in FINETUNING:
                removed = removed_error(case, name)
                if removed is not None:
                    left_over.append(removed - (said[name] - evidence.top) / evidence.error)
    assert pstdev(left_over) == pytest.approx(GAIN_SPREAD, abs=0.03)
