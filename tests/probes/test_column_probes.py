"""Probes of labels and of values, and class weights, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error

from transferkit.probes.column_probes import ColumnSolver, column_path, fit_columns, held_out_logits
from transferkit.probes.fold_scores import Score, fit_head, score_classifiers
from transferkit.probes.logistic.basis import Stack
from transferkit.probes.scaling import ShrunkScaler

N, D = 60, 12
CS = np.array([0.01, 0.3, 10.0])


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(N, D)) * np.linspace(0.5, 3, D)


@pytest.fixture(scope="module")
def labels(X: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(2).normal(size=(N, 3))
    return (X[:, :3] + noise > [0.0, 1.0, -1.5]).astype(np.float64)


def folds() -> list[tuple[np.ndarray, np.ndarray]]:
    places = np.arange(N)
    return [(places[places % 3 != k], places[places % 3 == k]) for k in range(3)]


@pytest.mark.parametrize("balanced", [False, True])
def test_a_logistic_regression_for_each_label(X, labels, balanced) -> None:
    solver = ColumnSolver("logistic", ShrunkScaler(), balanced)
    weights, bias = fit_columns(Stack([X]), labels, solver, CS)
    Z = ShrunkScaler().fit_transform(X)
    for t, C in enumerate(CS):
        theirs = LogisticRegression(C=C, class_weight="balanced" if balanced else None, tol=1e-8, max_iter=10_000)
        np.testing.assert_allclose(
            X @ weights[t] + bias[t], theirs.fit(Z, labels[:, t]).decision_function(Z), atol=2e-3
        )


def test_ridge_regression_of_each_value(X) -> None:
    Y = X[:, :3] @ np.random.default_rng(3).normal(size=(3, 3)) + 4
    weights, bias = fit_columns(Stack([X]), Y, ColumnSolver("ridge", ShrunkScaler()), CS)
    Z = ShrunkScaler().fit_transform(X)
    for t, C in enumerate(CS):
        np.testing.assert_allclose(X @ weights[t] + bias[t], Ridge(alpha=1 / C).fit(Z, Y[:, t]).predict(Z), atol=1e-8)


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_the_path_has_the_loss_of_held_out_rows(X, labels, kind) -> None:
    path = column_path(Stack([X]), labels, folds(), ColumnSolver(kind, ShrunkScaler()), CS)
    assert path.losses.shape == (3, 3)
    for i, C in enumerate(CS):
        found = np.zeros(N)
        for rows, test in folds():
            scaler = ShrunkScaler().fit(X[rows])
            Z, held = scaler.transform(X[rows]), scaler.transform(X[test])
            if kind == "ridge":
                found[test] = Ridge(alpha=1 / C).fit(Z, labels[rows, 1]).predict(held)
            else:
                theirs = LogisticRegression(C=C, tol=1e-8, max_iter=10_000).fit(Z, labels[rows, 1])
                found[test] = theirs.predict_proba(held)[:, 1]
        loss = mean_squared_error if kind == "ridge" else log_loss
        assert path.losses[1, i] == pytest.approx(loss(labels[:, 1], found), abs=1e-3)
    assert path.loss == pytest.approx(path.losses[np.arange(3), np.searchsorted(CS, path.best)].mean())
    logits = held_out_logits(Stack([X]), labels, folds(), ColumnSolver(kind, ShrunkScaler()), path.best)
    assert logits.shape == (N, 3)


def test_a_label_that_a_fold_lacks_gets_its_rate(X) -> None:
    labels = np.zeros((N, 1))
    weights, bias = fit_columns(Stack([X]), labels, ColumnSolver("logistic", ShrunkScaler()), np.ones(1))
    assert not weights.any()
    assert 1 / (1 + np.exp(-bias[0])) == pytest.approx(0.5 / (N + 1))


def test_balanced_classes_are_those_of_scikit_learn(X) -> None:
    classes = np.digitize(X[:, 0] + np.random.default_rng(4).normal(size=N), [-1.0, 0.2])
    assert len(set(np.bincount(classes).tolist())) > 1
    Z = ShrunkScaler().fit_transform(X)
    theirs = LogisticRegression(C=0.3, class_weight="balanced", tol=1e-8, max_iter=10_000).fit(Z, classes)
    score = Score("logistic", 0.3, 1.0, 0.0, 0.0, 0.0, np.zeros(0, np.float32), ShrunkScaler(), balanced=True)
    weights, bias = fit_head(score, Stack([X]), classes)
    np.testing.assert_allclose(X @ weights.T + bias, theirs.decision_function(Z), atol=5e-3)
    (found,) = score_classifiers(Stack([X]), classes, folds(), ShrunkScaler(), {"logistic": [0.3]}, balanced=True)
    (plain,) = score_classifiers(Stack([X]), classes, folds(), ShrunkScaler(), {"logistic": [0.3]})
    assert found.balanced
    assert found.nll != plain.nll
    probabilities = np.zeros((N, 3))
    for rows, test in folds():
        scaler = ShrunkScaler().fit(X[rows])
        theirs.fit(scaler.transform(X[rows]), classes[rows])
        probabilities[test] = theirs.predict_proba(scaler.transform(X[test]))
    assert found.nll == pytest.approx(log_loss(classes, probabilities), abs=1e-3)
