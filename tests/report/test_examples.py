from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.report.conftest import predictions
from transferkit.data.imageset import ImageSet
from transferkit.report.examples import examples, right_examples, short_names, thumbnail, worst_mistakes


def decode(address: str | None) -> Image.Image:
    assert address is not None
    head, data = address.split(",")
    image = Image.open(BytesIO(b64decode(data)))
    assert head == f"data:image/{str(image.format).lower()};base64"
    return image


def arrays(labels: np.ndarray, side: int = 8) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8)
    return ImageSet.from_arrays(pixels, labels)


def test_worst_mistakes_are_wrong_and_surest_first():
    test = arrays(np.arange(90) % 3)
    probabilities = predictions(test.labels, 3)
    wrong = {i for i in range(90) if probabilities[i].argmax() != test.labels[i]}
    chosen = worst_mistakes(test, probabilities, 10)
    assert set(worst_mistakes(test, probabilities, 90)) == wrong
    assert set(chosen) == set(sorted(wrong, key=lambda i: -probabilities[i].max())[:10])
    assert list(probabilities[chosen].max(axis=1)) == sorted(probabilities[chosen].max(axis=1), reverse=True)


@pytest.mark.parametrize("num_classes", [2, 5, 40])
def test_right_examples_are_right_and_spread_over_the_classes(num_classes):
    test = arrays(np.arange(400) % num_classes)
    probabilities = predictions(test.labels, num_classes)
    chosen = right_examples(test, probabilities, 12)
    assert len(set(chosen)) == 12
    assert (probabilities[chosen].argmax(axis=1) == test.labels[chosen]).all()
    per_class = np.bincount(test.labels[chosen], minlength=num_classes)
    assert per_class.max() - per_class.min() <= 1
    if num_classes > 12:
        assert {test.labels[chosen].min(), test.labels[chosen].max()} == {0, num_classes - 1}


def test_nothing_right_and_nothing_wrong():
    test = arrays(np.zeros(3, dtype=int))
    right, wrong = np.array([[1.0, 0.0]] * 3, dtype=np.float32), np.array([[0.0, 1.0]] * 3, dtype=np.float32)
    assert len(worst_mistakes(test, right, 5)) == 0
    assert len(right_examples(test, wrong, 5)) == 0
    assert examples(test, right, ["a", "b"], worst_mistakes(test, right, 5)) == []


def test_small_images_are_kept_exactly_and_large_ones_made_small():
    small = arrays(np.zeros(1, dtype=int), side=8)
    picture, tiny = thumbnail(small, 0)
    assert tiny
    assert (np.asarray(decode(picture)) == np.asarray(small.image(0))).all()
    picture, tiny = thumbnail(arrays(np.zeros(1, dtype=int), side=500), 0)
    assert not tiny
    assert decode(picture).size == (128, 128)
    assert picture is not None
    assert len(picture) < 24_000  # noise: the worst that JPEG can meet


def test_names_are_shown_below_the_folder_they_share(tmp_path):
    assert short_names([f"{tmp_path}/test/ant/1.jpg", f"{tmp_path}/test/bee/2.jpg"]) == ["ant/1.jpg", "bee/2.jpg"]
    assert short_names([f"{tmp_path}/1.jpg"]) == ["1.jpg"]
    assert short_names([]) == []


def test_an_image_that_is_gone_or_broken_is_still_listed(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    test = ImageSet.from_files([tmp_path / "broken.jpg", tmp_path / "gone.jpg"], [0, 1])
    rows = examples(test, np.array([[0.2, 0.8], [0.3, 0.7]], dtype=np.float32), ["ant", "bee"], np.array([1, 0]))
    assert [(row.name, row.true, row.predicted, row.picture) for row in rows] == [
        ("gone.jpg", "bee", "bee", None),
        ("broken.jpg", "ant", "bee", None),
    ]
    assert rows[1].confidence == pytest.approx(0.8)
