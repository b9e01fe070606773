"""Learning curves: recovered where the truth is known, and checked on held-back halves of real data."""

import numpy as np
import pytest

import transferkit as tk
from transferkit.advisor.curve import Fit, _part, extrapolate, fit_power_law, learning_curve, measure_curve
from transferkit.backbones.backbone import Backbone
from transferkit.probes.linear import LinearProbe


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.0, 1.0, 0.5), (0.1, 2.0, 0.75), (0.05, 0.8, 0.3)])
def test_a_power_law_is_recovered(floor: float, scale: float, exponent: float) -> None:
    truth = Fit(floor, scale, exponent)
    n = np.array([50.0, 100.0, 200.0, 400.0])
    found = fit_power_law(n, truth.error(n))
    assert float(found.error(800)) == pytest.approx(float(truth.error(800)), abs=2e-3)


def test_the_fit_never_rises_and_never_goes_below_zero() -> None:
    found = fit_power_law(np.array([10.0, 20.0, 40.0]), np.array([0.1, 0.2, 0.3]))
    assert found.floor >= 0
    assert found.scale >= 0
    assert float(found.error(1000)) <= float(found.error(10))


def answers(truth: Fit, sizes: list[int], val: int, rng: np.random.Generator) -> np.ndarray:
    """Which val images are right: each has its own difficulty, shared by all sizes, as real ones have."""
    difficulty = rng.uniform(size=val)
    return np.array([difficulty + 0.02 * rng.normal(size=val) > truth.error(n) for n in sizes])


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth, sizes = Fit(0.05, 2.0, 0.5), [50, 50, 50, 100, 100, 100, 200, 200, 200, 400]
    gain = float(truth.error(400) - truth.error(800))
    rng = np.random.default_rng(0)
    curves = [extrapolate(sizes, answers(truth, sizes, 300, rng), seed=seed) for seed in range(20)]
    assert sum(c.low <= gain <= c.high for c in curves if c.low is not None and c.high is not None) >= 16
    assert np.mean([c.gain for c in curves if c.gain is not None]) == pytest.approx(gain, abs=0.01)


def test_held_back_halves_of_the_digits(letters_network: Backbone) -> None:
    """The curve of half of the images says what the other half brings, on test images that it never saw."""
    hits = []
    for seed in range(6):
        data = tk.load_data({"kind": "digits", "name": "digits"}, seed=seed)
        sets = {
            name: tk.extract_features(letters_network, images, ["stage5"], progress=False)["stage5"]
            for name, images in data.splits.items()
        }
        labels = data.train.labels
        half = _part(labels, len(labels) // 2, seed)
        curve = learning_curve(sets["train"][half], labels[half], sets["val"], data.val.labels, C=0.05, seed=seed)
        before, after = (
            LinearProbe(C=0.05 * len(half) / len(rows)).fit(sets["train"][rows], labels[rows])
            for rows in (half, np.arange(len(labels)))
        )
        gain = after.score(sets["test"], data.test.labels) - before.score(sets["test"], data.test.labels)
        assert curve.low is not None
        assert curve.high is not None
        hits.append(curve.low - 0.003 <= gain <= curve.high + 0.003)  # one test image is 0.28 points
    assert sum(hits) >= 5


def test_parts_are_stratified_and_grow() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [8, 16, 32, 64])
    features = rng.normal(size=(120, 3)).astype(np.float32)
    sizes, correct = measure_curve(features, labels, features[:10], labels[:10], C=1.0, seed=0)
    assert sizes == sorted(sizes)
    assert sizes[-1] == 120
    assert correct.shape == (len(sizes), 10)
    assert np.bincount(labels[_part(labels, 30, 0)]).tolist() == [2, 4, 8, 16]


def test_too_few_images_are_said_to_tell_nothing() -> None:
    labels = np.arange(20) % 10
    features = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    curve = learning_curve(features, labels, features, labels, C=1.0)
    assert curve.gain is None
    assert "no prediction" in curve.verdict


def test_a_wide_interval_is_called_so() -> None:
    rng = np.random.default_rng(0)
    sizes = [20, 20, 20, 40, 40, 40, 80]
    curve = extrapolate(sizes, rng.uniform(size=(7, 12)) > 0.4)
    assert "no reliable prediction" in curve.verdict
