"""One order for stages, values of C, epochs, trials and groups: accuracy, then loss, then the deeper stage."""

import ast
import itertools

import pytest

from tests.conftest import REPOSITORY
from transferkit.ranking import best_stage, rank, score


def rows(**figures: tuple[float, float]) -> dict[str, dict[str, float]]:
    return {stage: {"val_top1": top1, "val_nll": nll} for stage, (top1, nll) in figures.items()}


def test_accuracy_then_loss_then_the_deeper_stage() -> None:
    assert best_stage(rows(stage3=(0.9, 2.0), stage4=(0.8, 0.1), stage5=(0.8, 0.1))) == "stage3"
    assert best_stage(rows(stage3=(0.9, 0.5), stage4=(0.9, 0.4), stage5=(0.9, 0.6))) == "stage4"
    assert best_stage(rows(stage3=(0.9, 0.4), stage4=(0.9, 0.4), stage5=(0.8, 0.1))) == "stage4"


def test_accuracies_that_differ_by_rounding_are_equal() -> None:
    fifth = sum([0.1] * 3)  # 0.30000000000000004
    assert fifth != 0.3
    assert rank(0.3, 0.1) > rank(fifth, 0.2)


def test_the_score_of_epochs_has_the_same_order() -> None:
    n = 40
    candidates = [(right / n, nll) for right in (0, 20, 39, 40) for nll in (0.0, 0.3, 5.0, 80.0)]
    for one, other in itertools.combinations(candidates, 2):
        assert (rank(*one) > rank(*other)) == (score(*one, n) > score(*other, n))


@pytest.mark.parametrize("package", ["strategies", "training", "probes", "advisor", "compare"])
def test_no_package_has_a_rule_of_its_own(package: str) -> None:
    """No sort key is made of accuracies and losses, one of them negated, outside of `ranking`."""
    for path in sorted((REPOSITORY / "transferkit" / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Tuple) and any(isinstance(part, ast.UnaryOp) for part in node.elts):
                text = ast.unparse(node)
                assert not ("top1" in text and "nll" in text), f"{path}:{node.lineno}"
