"""The choice among scores: by rank on val; over folds within the standard error, the likelier C and the simpler."""

import numpy as np
import pytest

from tests.probes.test_linear import digits_features
from transferkit.folds import Chooser, make_folds
from transferkit.probes.chosen import best_C, choose, fit_choice, held_out, make_candidate, paired_error
from transferkit.probes.fold_scores import Score, score_classifiers
from transferkit.probes.logistic.basis import Stack
from transferkit.probes.scaling import ShrunkScaler

X = Stack([np.zeros((100, 1))])


def score(C: float, wrong: int, nll: float, classifier: str = "logistic") -> Score:
    """Of 100 rows, the first ones wrong."""
    hits = np.ones(100, dtype=np.float32)
    hits[:wrong] = 0
    return Score(classifier, C, 1.0, 1 - wrong / 100, nll, nll, hits)


def test_the_error_of_a_difference_is_that_of_pairs() -> None:
    first, second = score(1, 10, 0).hits, score(1, 14, 0).hits
    assert paired_error(first, second) == pytest.approx(np.std([0] * 96 + [1] * 4, ddof=1) / 10)


@pytest.mark.parametrize(
    ("wrong", "nll", "by_val", "by_folds"),
    [
        ((9, 5, 5, 9), (1.0, 0.9, 0.8, 0.1), 2, 2),  # four more wrong answers are two standard errors
        ((5, 5, 4, 5), (1.0, 0.3, 0.8, 0.9), 2, 2),  # one more is one, more than a half
        ((30, 4, 5, 4), (1.0, 0.5, 0.3, 0.2), 3, 1),  # not at the end of the grid
        ((4, 30, 30, 30), (0.1, 0.5, 0.3, 0.2), 0, 0),  # unless all others are worse
    ],
)
def test_the_best_C(wrong: tuple[int, ...], nll: tuple[float, ...], by_val: int, by_folds: int) -> None:
    scores = [score(10.0**i, w, loss) for i, (w, loss) in enumerate(zip(wrong, nll, strict=True))]
    assert 10.0**by_val == best_C(scores, "val").C
    assert 10.0**by_folds == best_C(scores, "cv").C


def test_the_likelier_of_those_within_the_error_then_the_simpler() -> None:
    early = make_candidate("stage1", X, [score(1, 5, 0.3)], "cv")
    late = make_candidate("stage2", X, [score(1, 6, 0.2), score(1, 5, 0.2, "ridge")], "cv")
    chosen = choose([early, late], "cv")  # all are within the error
    assert (chosen.candidate.name, chosen.score.classifier) == ("stage2", "logistic")
    chosen = choose([early, late], "val")  # which ranks first
    assert (chosen.candidate.name, chosen.score.classifier) == ("stage2", "ridge")
    better = make_candidate("stage1", X, [score(1, 2, 0.9, "ridge")], "cv")
    assert choose([better, late], "cv").candidate.name == "stage1"


@pytest.mark.parametrize("classifier", ["logistic", "discriminant", "ridge"])
@pytest.mark.parametrize("classes", [2, 10])
def test_scores_are_those_of_the_heads_fitted_in_each_fold(classifier: str, classes: int) -> None:
    features, labels = digits_features(80, classes)
    features, labels = features[:120], labels[:120]
    stack = Stack([[features[:70, :30], features[:70, 30:]], [features[70:, :30], features[70:, 30:]]])
    scaler, folds = ShrunkScaler(widths=[30, 50]), make_folds(labels, repeats=2)
    scores = score_classifiers(stack, labels, folds, scaler, {classifier: [0.001, 0.1, 10.0]})
    choice = choose([make_candidate("all", stack, scores, "cv")], "cv")
    probabilities, images = held_out(choice, labels, Chooser(folds, "cv", 2))
    right = probabilities.argmax(axis=1) == labels[images]
    assert right.mean() == pytest.approx(choice.score.top1, abs=0.01)
    losses = -np.log(probabilities[np.arange(len(images)), labels[images]])
    assert losses.mean() == pytest.approx(choice.score.nll, abs=0.01)
    weights, bias = fit_choice(choice, labels)
    assert weights.shape == (classes, 80)
    assert ((features @ weights.T + bias).argmax(axis=1) == labels).mean() >= right.mean()


@pytest.mark.parametrize("classifier", ["logistic", "discriminant", "ridge"])
def test_without_any_mistake_the_confidence_stays_what_so_few_images_allow(classifier: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    features = rng.normal(size=(40, 50)) + 6.0 * labels[:, None]
    chooser = Chooser(make_folds(labels, repeats=2), "cv", 2)
    grid = {classifier: np.logspace(-6, 5, 23)}
    scores = score_classifiers(Stack([features]), labels, chooser.folds, ShrunkScaler(), grid)
    choice = choose([make_candidate("stage5", Stack([features]), scores, "cv")], "cv")
    assert choice.score.top1 == 1
    probabilities, images = held_out(choice, labels, chooser)
    confidence = probabilities[np.arange(len(images)), labels[images]]
    # Laplace's rule of succession: 41 of 42 for 40 of 40 correct ones.
    assert 0.93 < np.median(confidence) < 0.995


def test_the_risk_is_the_loss_with_one_more_image_taken_for_the_likeliest_other_class() -> None:
    features, labels = digits_features(60)
    features, labels = features[:60].astype(np.float64), labels[:60]
    rows, test = np.arange(40), np.arange(40, 60)
    (score,) = score_classifiers(Stack([features]), labels, [(rows, test)], ShrunkScaler(), {"logistic": [0.1]})
    choice = choose([make_candidate("s", Stack([features]), [score], "cv")], "cv")
    probabilities, images = held_out(choice, labels, Chooser([(rows, test)], "val"))
    true = probabilities[np.arange(20), labels[images]]
    others = probabilities.copy()
    others[np.arange(20), labels[images]] = 0
    assert score.nll == pytest.approx(-np.log(true).mean(), rel=1e-2)
    assert score.risk == pytest.approx((-np.log(true).sum() - np.log(others.max(axis=1)).mean()) / 21, rel=1e-2)
