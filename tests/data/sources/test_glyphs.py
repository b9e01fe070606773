import re
from typing import Any

import numpy as np
import pytest

from transferkit.config.schema import check_group
from transferkit.data.imageset import ImageSet
from transferkit.data.load_data import load_data
from transferkit.data.sources.glyph_outlines import load_outlines
from transferkit.data.sources.glyphs import SCANNED, draw_glyphs, load
from transferkit.errors import TransferkitError

SMALL = {**check_group("dataset", {"kind": "glyphs"}), "images": 300, "classes": 10}


def pixels(images: ImageSet) -> Any:
    return np.stack([np.asarray(images.image(i).convert("L")) for i in range(len(images))])


def test_the_seed_alone_decides_the_images() -> None:
    first, again, other = (
        load({**SMALL, "seed": seed}, run_seed).splits for seed, run_seed in ((1, 0), (1, 5), (2, 0))
    )
    for split in ("train", "val", "test"):
        assert (pixels(first[split]) == pixels(again[split])).all()
        assert (first[split].labels == again[split].labels).all()
    assert (pixels(first["train"]) != pixels(other["train"])).any(axis=(1, 2)).all()


def test_images_do_not_depend_on_how_many_threads_make_them() -> None:
    import torch

    outlines, labels, threads = load_outlines(10), np.arange(10), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = draw_glyphs(outlines, labels, 32, 0.08, seed=3)
        torch.set_num_threads(2)
        assert (draw_glyphs(outlines, labels, 32, 0.08, seed=3) == one).all()
    finally:
        torch.set_num_threads(threads)


def test_classes_are_balanced_and_splits_differ() -> None:
    data = load(SMALL, 0)
    for images, count in zip(data.splits.values(), (300, 30, 30), strict=True):
        assert np.bincount(images.labels).tolist() == [count // 10] * 10
    identities = [identity for images in data.splits.values() for identity in images.ids()]
    assert len(set(identities)) == len(identities)


def test_without_distortion_an_image_is_its_letter() -> None:
    outlines = load_outlines(10)
    labels = np.repeat(np.arange(10), 40)
    images = draw_glyphs(outlines, labels, 48, elastic=0.0, seed=0) / 255
    corner = images[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=1)
    ink = np.abs(images - corner[:, None, None])
    starts = np.cumsum(outlines.counts) - outlines.counts
    letters = np.stack([outlines.distances[s] > 0 for s in starts]).reshape(10, -1).astype(float)
    mean = np.stack([ink[labels == k].mean(axis=0) for k in range(10)]).reshape(10, -1)
    likeness = np.corrcoef(mean, letters)[:10, 10:]
    assert (likeness.argmax(axis=1) == np.arange(10)).mean() >= 0.8


def test_half_of_the_images_are_dark_on_light_and_scans_are_smooth() -> None:
    images = draw_glyphs(load_outlines(10), np.arange(2000) % 10, 32, 0.08, seed=0) / 255
    light = np.median(images[:, [0, -1]].reshape(2000, -1), axis=1) > 0.5
    assert 0.44 < light.mean() < 0.56
    # Most scans have no more detail than 8 x 8 pixels: little is lost by going there and back.
    roughness = np.abs(np.diff(images, 2, axis=2)).mean(axis=(1, 2)) / images.std(axis=(1, 2))
    assert 0.2 < (roughness < np.median(roughness)).mean() <= 0.5 < SCANNED


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("images", 9, "images=9 must be a whole number of at least 10"),
        ("classes", 1, "classes=1 must be a whole number from 2 to"),
        ("size", 7, "size=7 must be a whole number from 8 to"),
        ("size", 32.5, "size=32.5 must be a whole number from 8 to"),
        ("seed", -1, "seed=-1 must be a whole number from 0 to"),
        ("classes", True, "classes=true must be a whole number from 2 to"),
    ],
)
def test_values_that_cannot_be_used(key: str, value: Any, told: str) -> None:
    with pytest.raises(TransferkitError, match=rf"dataset\.{re.escape(told)}"):
        load_data({**SMALL, key: value}, 0)


def test_few_shot_samples_are_cut_by_the_run() -> None:
    data = load_data({"kind": "glyphs", "images": 300, "classes": 10, "per_class": 5}, seed=1)
    assert (len(data.train), len(data.val), len(data.test)) == (40, 10, 30)
    assert data.class_names[0] == "latin capital letter a"
