"""The temperature of every kind of strategy: held out, folded into the head, and without effect on predictions."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from transferkit.backbones.create import create_backbone
from transferkit.metrics import at_temperature, compute_metrics
from transferkit.models.transfer_model import Head, TransferModel, load_model, save_model
from transferkit.probes.neighbors import NeighborHead
from transferkit.strategies.calibrate import KEY, apply_temperature, calibrate, with_test
from transferkit.strategies.fitted import Fitted, OutOfFold

CLASSES = ["a", "b", "c"]
N = 400


def overconfident(seed: int, sharpness: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose logits are `sharpness` times those that the labels were drawn with."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (N, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in true])
    sharp = np.exp(sharpness * logits)
    return (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32), labels


def model_with(head: Head) -> TransferModel:
    torch.manual_seed(0)
    backbone = create_backbone("resnet18", weights=None, input_size=32).truncate("stage2")
    return TransferModel(backbone, head, CLASSES).eval()


def heads() -> dict[str, Head]:
    torch.manual_seed(1)
    return {
        "linear": nn.Linear(64, 3),
        "neighbors": NeighborHead(torch.randn(20, 64), torch.arange(20) % 3, 3, k=4),
    }


@pytest.mark.parametrize("kind", ["linear", "neighbors"])
@pytest.mark.parametrize("on", ["val", "out of fold"])
def test_the_temperature_is_in_the_head_and_changes_no_prediction(kind: str, on: str, tmp_path: Path) -> None:
    probabilities, labels = overconfident(0)
    out_of_fold = None if on == "val" else OutOfFold(probabilities, labels, np.arange(N))
    model, images = model_with(heads()[kind]), torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        before = model(images)
    fitted = calibrate(Fitted(model, probabilities, 1, out_of_fold=out_of_fold), labels)
    facts = fitted.details[KEY]
    temperature = facts["temperature"]
    assert (facts["on"], facts["images"]) == (on, N)
    save_model(tmp_path, fitted.model)
    with torch.no_grad():
        after = load_model(tmp_path)(images)
    torch.testing.assert_close(after, before / temperature, rtol=1e-5, atol=1e-5)
    assert (after.argmax(dim=1) == before.argmax(dim=1)).all()
    np.testing.assert_allclose(fitted.val, at_temperature(probabilities, temperature), rtol=1e-5)
    assert fitted.val_metrics(labels)["nll"] == pytest.approx(facts["after"]["nll"])
    assert facts["after"]["nll"] < facts["before"]["nll"]
    assert calibrate(fitted, labels) is fitted


def test_the_temperature_is_that_of_the_lowest_loss_and_right_on_other_images() -> None:
    probabilities, labels = overconfident(0)
    model = model_with(nn.Linear(64, 3))
    temperature = calibrate(Fitted(model, probabilities, 1), labels).details[KEY]["temperature"]
    best = minimize(
        lambda t: compute_metrics(at_temperature(probabilities, float(t[0])), labels)["nll"],
        [1.0],
        method="Nelder-Mead",
    )
    assert temperature == pytest.approx(best.x[0], rel=0.02)
    assert temperature == pytest.approx(3, rel=0.2)
    other, other_labels = overconfident(1)
    facts = with_test({"temperature": temperature}, at_temperature(other, temperature), other_labels)["test"]
    assert facts["before"] == pytest.approx(
        {key: compute_metrics(other, other_labels)[key] for key in ("nll", "ece")}, rel=1e-3
    )
    assert facts["after"]["ece"] < 0.5 * facts["before"]["ece"]


def test_calibrated_probabilities_stay_nearly_as_they_are() -> None:
    probabilities, labels = overconfident(0, sharpness=1.0)
    fitted = calibrate(Fitted(model_with(nn.Linear(64, 3)), probabilities, 1), labels)
    assert fitted.details[KEY]["temperature"] == pytest.approx(1, abs=0.15)


def test_a_strategy_that_calibrates_itself_is_left_alone() -> None:
    head = nn.Linear(64, 3)
    weight = head.weight.detach().clone()
    probabilities, labels = overconfident(0)
    fitted = Fitted(model_with(head), probabilities, 1, details={KEY: {"temperature": 2.0}})
    assert calibrate(dataclasses.replace(fitted), labels).details == fitted.details
    torch.testing.assert_close(head.weight.detach(), weight)
    apply_temperature(head, 2.0)
    torch.testing.assert_close(head.weight.detach(), weight / 2)
