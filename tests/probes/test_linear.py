import tracemalloc

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from transferkit.errors import TransferkitError
from transferkit.probes.linear import LinearProbe
from transferkit.probes.scaling import ShrunkScaler


def digits_features(dimensions: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Digits through one random ReLU layer, as float32 like a network's features; constant columns among them."""
    X, y = load_digits(return_X_y=True)
    X, y = X[y < classes], y[y < classes]
    layer = np.random.default_rng(0).normal(size=(X.shape[1], dimensions))
    X = np.maximum(X / 16 @ layer, 0)
    X[:, :3] = (0.0, 1.0, 0.1)
    return X.astype(np.float32), y


def reference(C: float, standardize: bool = True):
    regression = LogisticRegression(C=C, max_iter=6000, tol=1e-7)
    return make_pipeline(ShrunkScaler(), regression) if standardize else regression


@pytest.mark.parametrize(
    "estimator",
    [LinearProbe(Cs=5), LinearProbe(C=1.0, standardize=False), LinearProbe(C=1.0, standardize=ShrunkScaler(10))],
)
def test_follows_the_estimator_protocol(estimator):
    check_estimator(estimator, on_skip=None)


@pytest.mark.parametrize("C", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize(("rows", "dimensions", "classes"), [(900, 60, 10), (150, 400, 10), (150, 400, 2)])
def test_agrees_with_scikit_learn(C, standardize, rows, dimensions, classes):
    X, y = digits_features(dimensions, classes)
    train, test, y_train, y_test = train_test_split(X, y, train_size=rows, stratify=y, random_state=0)
    probe = LinearProbe(C=C, standardize=standardize, tol=1e-7, max_iter=2000).fit(train, y_train)
    expected = reference(C, standardize).fit(train.astype(np.float64), y_train)
    reference_test = test.astype(np.float64)  # in float32 scikit-learn's solver stops early
    np.testing.assert_allclose(probe.predict_proba(test), expected.predict_proba(reference_test), atol=1e-3)
    assert abs(probe.score(test, y_test) - expected.score(test, y_test)) <= 0.005
    logits = probe.decision_function(test)
    np.testing.assert_allclose(logits, expected.decision_function(reference_test), atol=0.02 * np.abs(logits).max())


def test_default_tolerance_agrees_within_half_a_point():
    X, y = digits_features(192)
    train, test, y_train, y_test = train_test_split(X, y, train_size=0.8, stratify=y, random_state=0)
    for C in (1e-3, 0.1, 10.0):
        expected = reference(C).fit(train, y_train).score(test, y_test)
        assert abs(LinearProbe(C=C).fit(train, y_train).score(test, y_test) - expected) <= 0.005


@pytest.mark.parametrize("classes", [2, 10])
def test_the_head_takes_raw_features(classes):
    X, y = digits_features(300, classes)
    probe = LinearProbe(Cs=[0.01, 0.1]).fit(X[:200], y[:200])
    assert probe.coef_.shape == (classes, 300)
    assert probe.intercept_.shape == (classes,)
    by_hand = softmax(X @ probe.coef_.T + probe.intercept_, axis=1)
    np.testing.assert_allclose(probe.predict_proba(X), by_hand, atol=1e-12)
    assert (probe.predict(X) == by_hand.argmax(axis=1)).all()


def test_sweep_is_what_single_fits_give():
    """Warm starts, extrapolation and rotation change the time, not the path: each C fitted alone on its own."""
    X, y = digits_features(250)
    X, X_val, y, y_val = train_test_split(X, y, train_size=200, test_size=400, stratify=y, random_state=0)
    Cs = np.logspace(-5, 0, 9)
    probe = LinearProbe(Cs=Cs, tol=1e-7, max_iter=2000).fit(X, y, X_val, y_val)
    singles = [reference(C).fit(X, y).predict_proba(X_val) for C in Cs]
    accuracies = [(p.argmax(axis=1) == y_val).mean() for p in singles]
    assert [row["C"] for row in probe.path_] == pytest.approx(Cs)
    assert [row["val_top1"] for row in probe.path_] == pytest.approx(accuracies, abs=0.0125)  # 5 of 400
    assert [row["val_nll"] for row in probe.path_] == pytest.approx([log_loss(y_val, p) for p in singles], rel=2e-3)


def test_c_is_the_most_accurate_on_val_then_the_likeliest():
    X, y = digits_features(100)
    probe = LinearProbe().fit(X[:300], y[:300], X[300:500], y[300:500])
    assert len(probe.path_) == 45
    assert (probe.path_[0]["C"], probe.path_[-1]["C"]) == pytest.approx((1e-6, 1e5))
    best = max(row["val_top1"] for row in probe.path_)
    tied = [row for row in probe.path_ if row["val_top1"] == best]
    assert min(tied, key=lambda row: row["val_nll"])["C"] == probe.C_
    assert probe.val_metrics_["top1"] == best
    assert probe.val_metrics_["nll"] == pytest.approx(min(row["val_nll"] for row in tied))


def test_val_figures_come_from_before_the_refit():
    X, y = digits_features(100)
    rng = np.random.default_rng(0)
    y_val = rng.permutation(y[300:500])  # labels that only memorising could tell
    probe = LinearProbe(Cs=[1e4]).fit(X[:300], y[:300], X[300:500], y_val)
    assert (probe.val_probabilities_.argmax(axis=1) == y_val).mean() < 0.2
    assert (probe.predict(X[300:500]) == y_val).mean() > 0.9


@pytest.mark.parametrize("dimensions", [100, 600])
def test_refit_is_a_fit_on_train_and_val_with_new_statistics(dimensions):
    X, y = digits_features(dimensions)
    X[300:500] += 5 * np.abs(X[300:500])  # so that the statistics of train alone would be wrong
    probe = LinearProbe(C=0.1, tol=1e-7).fit(X[:300], y[:300], X[300:500], y[300:500])
    expected = reference(0.1).fit(X[:500].astype(np.float64), y[:500])
    np.testing.assert_allclose(probe.predict_proba(X), expected.predict_proba(X.astype(np.float64)), atol=1e-4)


@pytest.mark.parametrize("classes", [2, 10])
def test_without_a_refit_the_head_is_the_one_that_was_measured(classes):
    X, y = digits_features(50, classes)
    train, val, y_train, y_val = train_test_split(X, y, train_size=200, stratify=y, random_state=0)
    probe = LinearProbe(Cs=[1e-4, 1e-2, 1.0], refit=False).fit(train, y_train, val, y_val)
    np.testing.assert_allclose(probe.predict_proba(val), probe.val_probabilities_, atol=1e-6)
    expected = reference(probe.C_).fit(train.astype(np.float64), y_train)
    np.testing.assert_allclose(probe.predict_proba(val), expected.predict_proba(val.astype(np.float64)), atol=0.02)
    cut = LinearProbe(Cs=[1e-4, 1e-2, 1.0], refit=False).fit(train, y_train)
    assert cut.val_metrics_["n"] < len(train)


@pytest.mark.parametrize("classes", [2, 10])
def test_a_fit_that_is_continued_is_the_refit(classes):
    X, y = digits_features(50, classes)
    train, val, y_train, y_val = train_test_split(X, y, train_size=200, stratify=y, random_state=0)
    Cs = [1e-4, 1e-2, 1.0]
    refitted = LinearProbe(Cs=Cs).fit(train, y_train, val, y_val)
    probe = LinearProbe(Cs=Cs, refit=False).fit(train, y_train, val, y_val)
    before = probe.val_probabilities_.copy()
    probe.continue_fit(np.concatenate([train, val]), np.concatenate([y_train, y_val]))
    np.testing.assert_allclose(probe.predict_proba(val), refitted.predict_proba(val), atol=1e-9)
    np.testing.assert_array_equal(probe.val_probabilities_, before)
    apart = LinearProbe(Cs=Cs, refit=False).fit(train, y_train, val, y_val).continue_fit(train, y_train, val, y_val)
    np.testing.assert_allclose(apart.coef_, probe.coef_, atol=1e-12)
    with pytest.raises(TransferkitError, match="no rows of class 1"):
        probe.continue_fit(train[y_train == 0], y_train[y_train == 0])


def test_val_is_cut_from_train_when_not_given():
    X, y = digits_features(60)
    few = np.concatenate([np.flatnonzero(y == label)[: 2 if label else 1] for label in range(10)])
    probe = LinearProbe().fit(X[few], y[few])
    assert probe.val_metrics_["n"] == 9  # one of each class that has two
    assert LinearProbe().fit(X[:200], y[:200]).val_metrics_["n"] == pytest.approx(40, abs=3)
    probes = [LinearProbe(Cs=5, random_state=seed).fit(X[:200], y[:200]) for seed in (0, 0, 1)]
    assert probes[0].path_ == probes[1].path_
    assert probes[0].path_ != probes[2].path_


def test_labels_may_be_names():
    X, y = digits_features(60)
    names = np.array([f"digit {label}" for label in y])
    probe = LinearProbe(Cs=[0.01, 0.1]).fit(X[:300], names[:300], X[300:400], names[300:400])
    assert probe.score(X[400:], names[400:]) > 0.8
    assert probe.classes_[3] == "digit 3"


def test_order_of_rows_does_not_matter():
    X, y = digits_features(300)
    order = np.random.default_rng(0).permutation(200)
    first = LinearProbe(C=0.01, tol=1e-6).fit(X[:200], y[:200])
    second = LinearProbe(C=0.01, tol=1e-6).fit(X[order], y[order])
    np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"Cs": [0.0, 1.0]}, "positive"), ({"Cs": 0}, "at least 1"), ({"C": -1.0}, "positive"), ({"Cs": []}, "Cs=")],
)
def test_impossible_values_of_c(settings, message):
    X, y = digits_features(60)
    with pytest.raises(TransferkitError, match=message):
        LinearProbe(**settings).fit(X, y)


def test_data_that_cannot_be_fitted():
    X, y = digits_features(60)
    with pytest.raises(TransferkitError, match=r"one class \(0\)"):
        LinearProbe().fit(X[y == 0], y[y == 0])
    with pytest.raises(TransferkitError, match="without training rows: 8, 9"):
        LinearProbe().fit(X[y < 8], y[y < 8], X, y)
    with pytest.raises(TransferkitError, match="single row"):
        LinearProbe().fit(X[:10], np.arange(10))
    with pytest.raises(TransferkitError, match="validation_fraction=1"):
        LinearProbe(validation_fraction=1.0).fit(X, y)
    with pytest.raises(ValueError, match="NaN"):
        LinearProbe().fit(np.where(X == 1.0, np.nan, X), y)
    with pytest.raises(ValueError, match="features"):
        LinearProbe(C=1.0).fit(X, y).predict(X[:, :50])


def test_an_unfinished_fit_is_told(caplog):
    X, y = digits_features(60)
    LinearProbe(C=10.0, max_iter=3).fit(X, y)
    assert "max_iter=3" in caplog.text


def test_features_on_disk_are_neither_copied_nor_changed(tmp_path, monkeypatch):
    X, y = digits_features(100)
    np.save(tmp_path / "x.npy", X)
    kept = LinearProbe(Cs=5).fit(X[:1000], y[:1000], X[1000:], y[1000:])
    monkeypatch.setattr("transferkit.probes.logistic.rows.KEPT_BYTES", 0)
    monkeypatch.setattr("transferkit.probes.logistic.basis.BLOCK", 6000)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    probe = LinearProbe(Cs=5).fit(mapped[:1000], y[:1000], mapped[1000:], y[1000:])
    assert [row["val_top1"] for row in probe.path_] == [row["val_top1"] for row in kept.path_]
    np.testing.assert_allclose(probe.predict_proba(X), kept.predict_proba(X), atol=1e-4)
    tracemalloc.start()
    LinearProbe(Cs=2, refit=False).fit(mapped[:1000], y[:1000], mapped[1000:], y[1000:])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * X.nbytes  # of which (D, D) matrices and blocks are most: the rows of a small example are few
