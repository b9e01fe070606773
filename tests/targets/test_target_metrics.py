"""Metrics, losses and outputs of each kind of target, against scikit-learn and plain loops."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from transferkit.targets.multilabel_target import MultilabelTarget
from transferkit.targets.ordinal_target import OrdinalTarget
from transferkit.targets.regression_target import RegressionTarget
from transferkit.targets.target_kinds import make_target

N = 80


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_several_labels(rng: np.random.Generator) -> None:
    target = MultilabelTarget(("a", "b", "c", "never"))
    labels = (rng.random((N, 4)) < [0.5, 0.2, 0.1, 0.0]).astype(np.int64)
    logits = torch.from_numpy(rng.normal(size=(N, 4)) + 2 * labels)
    outputs = target.outputs(logits).numpy().astype(np.float32)
    found = target.metrics(outputs, labels)
    assert found["map"] == pytest.approx(sk.average_precision_score(labels[:, :3], outputs[:, :3]))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, outputs >= 0.5, average="macro", zero_division=0))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(labels, outputs >= 0.5, average="micro"))
    assert found["exact"] == pytest.approx(sk.accuracy_score(labels, outputs >= 0.5))
    assert found["per_label"]["b"]["ap"] == pytest.approx(sk.average_precision_score(labels[:, 1], outputs[:, 1]))
    assert found["per_label"]["never"] == {"ap": None, "f1": 0.0, "images": 0}
    losses = [sk.log_loss(labels[:, k], outputs[:, k].astype(np.float64), labels=[0, 1]) for k in range(4)]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(target.loss(logits, torch.from_numpy(labels)).mean()) == pytest.approx(found["loss"], rel=1e-5)


def test_numbers(rng: np.random.Generator) -> None:
    labels = (rng.normal(size=(N, 2)) * [3, 100] + [5, -70]).astype(np.float32)
    target = RegressionTarget(("a", "b")).scaled(labels)
    np.testing.assert_allclose(target.encode(labels).mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(target.encode(labels).std(axis=0), 1, atol=1e-6)
    logits = torch.from_numpy(target.encode(labels) + 0.3 * rng.normal(size=(N, 2)))
    outputs = target.outputs(logits).numpy().astype(np.float32)
    found = target.metrics(outputs, labels)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(labels, outputs), rel=1e-5)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(labels, outputs), rel=1e-5)
    assert found["r2"] == pytest.approx(sk.r2_score(labels, outputs), rel=1e-5)
    assert found["per_value"]["b"]["mae"] == pytest.approx(sk.mean_absolute_error(labels[:, 1], outputs[:, 1]))
    assert float(target.loss(logits, torch.from_numpy(labels)).mean()) == pytest.approx(found["loss"], rel=1e-4)
    assert found["loss"] == pytest.approx(1 - found["r2"], abs=1e-5), "in units of the variance of these images"
    assert target.metrics(outputs[:1], labels[:1])["r2"] is None


def test_ordered_classes(rng: np.random.Generator) -> None:
    target = OrdinalTarget(("low", "middle", "high", "top"))
    labels = rng.integers(0, 4, N)
    logits = torch.from_numpy(rng.normal(size=(N, 3)) + 2 * (target.encode(labels) - 0.5))
    outputs = target.outputs(logits).numpy().astype(np.float32)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)
    assert outputs.min() >= 0
    median = np.array([next(k for k in range(4) if row[: k + 1].sum() >= 0.5) for row in outputs])
    np.testing.assert_array_equal(target.predicted(outputs), median)
    found = target.metrics(outputs, labels)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, median))
    assert found["mae_ranks"] == pytest.approx(sk.mean_absolute_error(labels, median))
    assert found["quadratic_kappa"] == pytest.approx(sk.cohen_kappa_score(labels, median, weights="quadratic"))


def test_the_loss_of_ordered_classes_is_that_of_a_classifier_for_each_boundary() -> None:
    target, labels = OrdinalTarget(("a", "b", "c")), np.array([0, 1, 2])
    logits = torch.tensor([[0.3, -1.0], [2.0, -0.5], [1.0, 0.2]], dtype=torch.float64)  # falling: no contradiction
    above = logits.sigmoid().numpy()
    wanted = [
        np.mean([-np.log(p if label > k else 1 - p) for k, p in enumerate(row)])
        for row, label in zip(above, labels, strict=True)
    ]
    np.testing.assert_allclose(target.loss(logits, torch.from_numpy(labels)).numpy(), wanted)
    np.testing.assert_allclose(target.losses(target.outputs(logits).numpy(), labels), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "target",
    [MultilabelTarget(("a", "b")), RegressionTarget(("v",), (2.0,), (3.0,)), OrdinalTarget(("a", "b", "c"))],
    ids=lambda target: target.kind,
)
def test_a_target_is_made_again_from_its_description(target) -> None:
    assert make_target(list(target.names), target.describe()) == target
