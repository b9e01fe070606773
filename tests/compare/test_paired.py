from math import comb

import numpy as np
import pytest
from scipy.stats import bootstrap

from transferkit.compare.paired import bootstrap_interval, compare_paired, holm, mcnemar, p_value


@pytest.mark.parametrize(("first", "second"), [(0, 6), (3, 9), (10, 10), (1, 0)])
def test_mcnemar_is_the_sum_of_the_binomial_tails(first: int, second: int) -> None:
    n, most = first + second, max(first, second)
    tail = sum(comb(n, k) for k in range(most, n + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1, 2 * tail))


def test_models_that_never_differ_are_equal() -> None:
    found = compare_paired([np.zeros((50, 1))])
    assert (found.p, found.mean, found.low, found.high) == (1, 0, 0, 0)


def test_holm_has_the_values_of_statsmodels() -> None:
    # statsmodels.stats.multitest.multipletests(..., method="holm")[1]
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_the_interval_over_images_is_scipys() -> None:
    rng = np.random.default_rng(1)
    d = rng.choice([-1.0, 0, 1], 400, p=[0.05, 0.8, 0.15])
    expected = bootstrap((d,), np.mean, n_resamples=5000, method="percentile", random_state=rng).confidence_interval
    assert bootstrap_interval([d[:, None]]) == pytest.approx(tuple(expected), abs=0.005)


def test_seeds_that_differ_widen_the_interval() -> None:
    d = np.zeros((1000, 3))
    d[:100, 0] = d[:100, 1] = 1
    d[:100, 2] = -1
    low, high = bootstrap_interval([d])
    alike = bootstrap_interval([np.repeat(d[:, :1], 3, axis=1)])
    assert high - low > 3 * (alike[1] - alike[0])
    assert compare_paired([d]).p > 0.3
    assert compare_paired([np.repeat(d[:, :1], 3, axis=1)]).p < 1e-6


@pytest.mark.parametrize("nested", [False, True], ids=["same images", "images by seed"])
@pytest.mark.parametrize(
    ("seeds", "spread"), [(1, 0.0), (3, 0.0), (3, 0.02)], ids=["one seed", "equal runs", "runs that differ by seed"]
)
def test_equal_settings_differ_significantly_in_few_draws(seeds: int, nested: bool, spread: float) -> None:
    """Of two equally accurate settings, whose runs differ by chance, at most one draw in twenty makes one better."""
    rng, found, draws = np.random.default_rng(0), 0, 400
    for _ in range(draws):
        images = 1 if not nested else seeds
        hard = rng.beta(8, 1, (300, images))
        moved = rng.normal(0, spread, (2, seeds))
        shares = np.clip(hard.repeat(seeds // images, axis=1)[None] + moved[:, None], 0, 1)
        right = (rng.random(shares.shape) < shares).astype(float)
        d = right[0] - right[1]
        blocks = [d[:, [i]] for i in range(seeds)] if nested else [d]
        found += p_value(blocks) < 0.05
    assert found / draws <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / draws)


def test_a_difference_is_found_and_lies_in_the_interval() -> None:
    rng, inside, found = np.random.default_rng(0), 0, 0
    for _ in range(40):
        right = rng.random((2, 600, 3)) < np.array([0.93, 0.88])[:, None, None]
        result = compare_paired([right[0].astype(float) - right[1]])
        inside += result.low <= 0.05 <= result.high
        found += result.p < 0.05
    assert inside >= 36
    assert found >= 32
