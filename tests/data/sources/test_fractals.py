from typing import Any

import numpy as np
import pytest

from transferkit.config.schema import check_group
from transferkit.data.imageset import ImageSet
from transferkit.data.sources.fractals import (
    VARIANTS,
    Systems,
    count_points,
    draw_fractals,
    load,
    orbits,
    search_systems,
)
from transferkit.errors import TransferkitError

SMALL = {**check_group("dataset", {"kind": "fractals"}), "images": 200, "classes": 8}
SIERPINSKI = Systems(
    maps=np.array([[[0.5, 0, 0, 0.5, 0, 0], [0.5, 0, 0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5, 0, 0.5], [0] * 6]], np.float32),
    chances=np.array([[1 / 3, 1 / 3, 1 / 3, 0]], np.float32),
)


def pixels(images: ImageSet) -> Any:
    return np.stack([np.asarray(images.image(i).convert("L")) for i in range(len(images))])


def test_orbits_of_the_sierpinski_triangle_stay_on_it() -> None:
    points, bounded = orbits(SIERPINSKI, np.random.default_rng(0))
    assert bounded.all()
    # x and y in binary never have a 1 at the same place (Pascal's triangle modulo 2)
    x, y = (np.floor(points[0].T * 2**8)).astype(int)
    assert ((x & y) == 0).mean() > 0.99
    assert len(np.unique(np.stack([x >> 4, y >> 4]), axis=1).T) == 3**4


def test_all_orbits_of_a_system_that_expands_escape() -> None:
    systems = Systems(SIERPINSKI.maps * 3, SIERPINSKI.chances)
    assert not orbits(systems, np.random.default_rng(0))[1].any()


def test_points_fill_the_image_from_edge_to_edge() -> None:
    counts = count_points(np.array([[[-1, 5], [3, 9], [1, 7]]], np.float32), 5)
    assert counts[0].tolist() == np.diag([1, 0, 1, 0, 1]).tolist()


def test_the_25_variations_scale_one_coefficient() -> None:
    varied = SIERPINSKI.pick(np.zeros(25, int)).vary(np.arange(25))
    changed = (varied.maps != SIERPINSKI.maps).any(axis=1)
    assert len(VARIANTS) == 25
    assert (changed.sum(axis=1) <= 1).all()
    a_scaled = [row for row, (coefficient, _) in enumerate(VARIANTS) if coefficient == 0]
    np.testing.assert_allclose(varied.maps[a_scaled, 0, 0], [0.4, 0.45, 0.55, 0.6], rtol=1e-6)


def test_classes_fill_the_image_and_their_variations_stay_bounded() -> None:
    systems = search_systems(8, 32, 0.2, 0)
    points, bounded = orbits(systems, np.random.default_rng(1))
    assert bounded.all()
    assert (count_points(points, 32) > 0).mean(axis=(1, 2)).min() > 0.17  # other orbits than in the search
    np.testing.assert_allclose(systems.chances.sum(axis=1), 1, rtol=1e-5)
    linear = systems.maps[..., :4].reshape(8, 4, 2, 2).astype(float)
    used = systems.chances > 0
    stretch = np.linalg.svd(linear, compute_uv=False)
    alpha = ((stretch[..., 0] + 2 * stretch[..., 1]) * used).sum(axis=1)
    number = used.sum(axis=1)
    assert ((5 + number) / 2 < alpha).all()
    assert (alpha < (6 + number) / 2).all()
    share = np.abs(np.linalg.det(linear)) * used
    np.testing.assert_allclose(systems.chances, share / share.sum(axis=1, keepdims=True), atol=1e-4)


def test_the_seed_alone_decides_the_images() -> None:
    first, again, other = (load({**SMALL, "seed": s}, r).splits["train"] for s, r in ((1, 0), (1, 5), (2, 0)))
    assert (pixels(first) == pixels(again)).all()
    assert (pixels(first) != pixels(other)).any(axis=(1, 2)).mean() > 0.99
    assert np.bincount(first.labels).tolist() == [25] * 8


def test_images_of_a_class_differ_but_less_than_classes() -> None:
    images = draw_fractals(search_systems(8, 32, 0.2, 0).pick(np.repeat(np.arange(8), 20)), 32, seed=0)
    assert images.dtype == np.uint8
    assert len(np.unique(images.reshape(160, -1), axis=0)) == 160
    flat = images.reshape(8, 20, -1).astype(float)
    assert flat.std(axis=1).mean() < flat.reshape(160, -1).std(axis=0).mean()


def test_a_filling_that_no_fractal_has() -> None:
    with pytest.raises(TransferkitError, match=r"dataset\.filling=0\.99: only 0 systems .* lower dataset\.filling"):
        search_systems(2, 32, 0.99, 0)
