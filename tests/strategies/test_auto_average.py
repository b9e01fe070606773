"""The mean of several strategies: chosen as a plain loop chooses it, and taken only where it is clearly better."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from transferkit.arrays import Labels, Probabilities
from transferkit.folds import make_folds
from transferkit.strategies.auto_average import (
    MOST_ADDED,
    MOST_MEMBERS,
    PARTS,
    add_greedily,
    average_sentence,
    calibrated,
    find_average,
)
from transferkit.strategies.fitted import OutOfFold

N, K = 120, 4
LABELS: Labels = np.arange(N) % K


def noisy(seed: int, noise: float, known: Labels | None = None) -> Probabilities:
    """Probabilities whose logits are right but for noise; only of the known images they say anything."""
    signal = 2.0 * np.eye(K)[LABELS]
    if known is not None:
        signal[np.setdiff1d(np.arange(N), known)] = 0
    found: Probabilities = softmax(signal + noise * np.random.default_rng(seed).normal(size=(N, K)), axis=1)
    return found.astype(np.float32)


def out_of_fold(probabilities: Probabilities) -> OutOfFold:
    return OutOfFold(probabilities, LABELS, np.arange(N))


def caruana(each: list[Probabilities], labels: Labels) -> list[int]:
    """Forward selection with replacement, in as few words as possible."""

    def loss(members: list[int]) -> float:
        mean = np.mean([each[one] for one in members], axis=0).astype(np.float64)
        return round(float(log_loss(labels, mean / mean.sum(axis=1, keepdims=True), labels=range(K))), 6)

    chosen = [0]
    while len(chosen) <= MOST_ADDED:
        tried = []
        for member in range(len(each)):
            if len({*chosen, member}) <= MOST_MEMBERS:
                tried.append((loss([*chosen, member]), member))
        best = min(tried)
        if best[0] >= loss(chosen):
            break
        chosen.append(best[1])
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_members_are_added_as_by_a_plain_loop(seed: int) -> None:
    each = [noisy(10 * seed + i, 1.5 + 0.2 * i) for i in range(6)]
    chosen = add_greedily(each, LABELS)
    assert chosen == caruana(each, LABELS)
    assert chosen[0] == 0
    assert 1 < len(set(chosen)) <= MOST_MEMBERS


def test_a_mean_that_is_clearly_better_is_taken() -> None:
    halves = [np.arange(N // 2), np.arange(N // 2, N)]
    found = {f"half{i}": out_of_fold(noisy(i, 0.3, half)) for i, half in enumerate(halves)}
    average = find_average(found, "half1", np.arange(N))
    assert average is not None
    assert average.wins
    assert sum(average.shares.values()) == pytest.approx(1)
    assert set(average.shares) == {"half0", "half1"}
    assert "the mean is taken" in average_sentence(average, "half1")
    assert average.facts()["taken"]


def test_each_image_is_predicted_by_a_mean_that_was_chosen_without_it() -> None:
    found = {f"m{i}": out_of_fold(noisy(i, 1.5)) for i in range(4)}
    average = find_average(found, "m0", np.arange(N), seed=3)
    assert average is not None
    each = [one.probabilities for one in found.values()]
    mean = np.zeros((N, K))
    for rows, held in make_folds(LABELS, np.arange(N), seed=3, splits=PARTS):
        chosen = caruana([one[rows] for one in each], LABELS[rows])
        mean[held] = np.mean([each[member][held] for member in chosen], axis=0)
    np.testing.assert_allclose(average.predictions.probabilities, mean, atol=1e-6)
    difference = (mean.argmax(axis=1) == LABELS).mean() - (each[0].argmax(axis=1) == LABELS).mean()
    assert average.gain.measured == pytest.approx(difference)
    assert average.loss == pytest.approx(log_loss(LABELS, each[0].astype(float)) - log_loss(LABELS, mean), abs=1e-4)


def test_one_that_adds_nothing_is_left_out() -> None:
    good, chance = noisy(0, 0.5), np.full((N, K), 1 / K, dtype=np.float32)
    assert find_average({"good": out_of_fold(good), "chance": out_of_fold(chance)}, "good", np.arange(N)) is None


def test_only_images_that_all_predict_are_compared() -> None:
    halves = [np.arange(N // 2), np.arange(N // 2, N)]
    first, second = (noisy(i, 0.3, half) for i, half in enumerate(halves))
    rows = np.arange(20, N)
    part = OutOfFold(second[rows], LABELS[rows], rows)
    average = find_average({"a": out_of_fold(first), "b": part}, "a", np.arange(N))
    assert average is not None
    assert set(average.predictions.images.tolist()) == set(rows.tolist())


def test_a_sharper_model_does_not_outweigh_others_once_calibrated() -> None:
    sharp = softmax(8 * np.log(noisy(0, 1.5).astype(np.float64)), axis=1).astype(np.float32)
    after = calibrated(out_of_fold(sharp))
    assert log_loss(LABELS, after.probabilities.astype(float)) < log_loss(LABELS, sharp.astype(float))
    assert (after.probabilities.argmax(axis=1) == sharp.argmax(axis=1)).all()
