"""`TransferFeatures` and `TransferClassifier` in scikit-learn's hands."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator

import transferkit as tk
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.features.store import FeatureCache
from transferkit.probes.image_rows import image_shape_of, images_of_list
from transferkit.probes.linear import LinearProbe

NETWORK: dict[str, Any] = {"backbone": "narrow_resnet10", "weights": "resnet_glyphs"}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X[:240], y[:240]


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [
        tk.TransferFeatures(**NETWORK, stages=["stage1"]),
        tk.TransferClassifier(**NETWORK, classifier=LinearProbe(C=1)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_follows_the_estimator_protocol(estimator):
    check_estimator(estimator, on_skip=None)


def test_features_are_those_of_the_network(digits, tmp_path):
    X, _ = digits
    pixels = np.rint(X[:9] * (255 / 16)).astype(np.uint8).reshape(9, 8, 8)
    network = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    found = tk.extract_features(network, ImageSet.from_arrays(pixels, np.zeros(9)), ["stage3", "stage4"], cache=None)
    expected = np.concatenate([found["stage3"], found["stage4"]], axis=1)
    stages = ["stage[34]"]
    for given in (
        tk.TransferFeatures(**NETWORK, stages=stages, pixel_range=(0, 16)).fit(X).transform(X[:9]),
        tk.TransferFeatures(network, stages=stages).fit_transform(pixels),
        tk.TransferFeatures(network, stages=stages, image_shape=(8, 8)).fit_transform(pixels.reshape(9, 64)),
    ):
        np.testing.assert_allclose(given, expected, atol=1e-5)
    names = tk.TransferFeatures(network, stages=stages, cache=None).fit(X).get_feature_names_out()
    assert (len(names), names[-1]) == (expected.shape[1], f"transferfeatures{expected.shape[1] - 1}")


def test_paths_and_images_are_one_with_arrays(digits, tmp_path):
    network = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    images = [tk.load_data({"kind": "digits", "name": "digits"}, seed=0).test.image(i) for i in range(4)]
    for i, image in enumerate(images):
        image.save(tmp_path / f"{i}.png")
    features = tk.TransferFeatures(network, cache=None)
    expected = features.fit_transform(np.stack([np.asarray(image) for image in images]))
    paths = sorted(tmp_path.glob("*.png"))
    for given in (images, [*images[:2], *map(str, paths[2:])], paths, np.array(list(map(str, paths)))):
        np.testing.assert_allclose(features.fit_transform(given), expected, atol=1e-5)


def test_a_long_list_of_images_is_one_set():
    """Each image was joined to a set of all before it, which 1,500 exceeded Python's depth of calls."""
    colours = [(i % 256, i // 256, 0) for i in range(1500)]
    joined = images_of_list([Image.new("RGB", (2, 2), colour) for colour in colours])
    assert [joined.image(i).getpixel((0, 0)) for i in (0, 700, 1499)] == [colours[i] for i in (0, 700, 1499)]


def test_a_pipeline_and_a_grid_search_compute_each_image_once(digits, tmp_path, monkeypatch):
    X, y = digits
    features = tk.TransferFeatures(**NETWORK, stages=["stage4"], pixel_range=(0, 16), cache=FeatureCache(tmp_path))
    pipeline = make_pipeline(features, LogisticRegression(max_iter=500))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.01, 1.0]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.9
    for module in ("transferkit.features.extract.InferenceNetwork.__call__",):
        monkeypatch.setattr(module, lambda *_: pytest.fail("an image was computed again"))
    assert search.score(X, y) > 0.95


def test_the_classifier_on_the_features_may_be_another(digits):
    X, y = digits
    names = np.array([f"digit {label}" for label in y])
    probe = tk.TransferClassifier(**NETWORK, stages=["stage4"], pixel_range=(0, 16))
    assert cross_val_score(probe, X, names, cv=2).mean() > 0.9
    svm = tk.TransferClassifier(**NETWORK, stages=["stage4"], classifier=LinearSVC()).fit(X, names)
    assert svm.score(X, names) > 0.95
    assert not hasattr(svm, "predict_proba")
    assert svm.decision_function(X[:3]).shape == (3, 10)
    bayes = tk.TransferClassifier(**NETWORK, stages=["stage4"], classifier=GaussianNB()).fit(X, names)
    assert not hasattr(bayes, "decision_function")
    np.testing.assert_allclose(bayes.predict_proba(X[:3]).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("width", "given", "shape"),
    [(64, None, (8, 8)), (48, None, (4, 4, 3)), (64, (4, 16), (4, 16)), (5, None, (3, 3)), (1, None, (1, 1))],
)
def test_the_shape_of_the_image_in_a_row(width, given, shape):
    assert image_shape_of(width, given) == shape


def test_mistakes(digits, tmp_path):
    X, _ = digits
    network = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    with pytest.raises(TransferkitError, match=r"image_shape=\(7, 9\): rows have 64 values"):
        tk.TransferFeatures(network, image_shape=(7, 9)).fit(X)
    with pytest.raises(TransferkitError, match="black must be less than white"):
        tk.TransferFeatures(network, pixel_range=(1, 0)).fit(X)
    with pytest.raises(TransferkitError, match='must be "auto" or two numbers'):
        tk.TransferFeatures(network).set_params(pixel_range="bytes").fit(X)
    with pytest.raises(TransferkitError, match="there is no stage 'stage9'"):
        tk.TransferFeatures(network, stages=["stage9"]).fit(X)
    fitted = tk.TransferFeatures(network).fit(X)
    with pytest.raises(TransferkitError, match="fit saw an array of pixels"):
        fitted.transform([tmp_path / "a.png"])
    with pytest.raises(TransferkitError, match="no list of paths"):
        tk.TransferFeatures(network).fit([Path("a.png")]).transform(X)
    with pytest.raises(TransferkitError, match=r"images of shape \(8, 9\), but fit saw \(8, 8\)"):
        tk.TransferFeatures(network).fit(np.zeros((2, 8, 8))).transform(np.zeros((2, 8, 9)))
    with pytest.raises(TransferkitError, match=r"gone\.png"):
        tk.TransferFeatures(network).fit_transform([tmp_path / "gone.png"])
