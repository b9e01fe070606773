"""The temperature of a fitted model, chosen on predictions of images that were not fitted, and folded into its head."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from transferkit.arrays import Labels, Probabilities
from transferkit.metrics import at_temperature, compute_metrics
from transferkit.models.transfer_model import Head
from transferkit.probes.neighbors import NeighborHead
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.stops import choose_temperature

KEY = "calibration"
"""The entry of metrics.json."""


def calibrate(fitted: Fitted, val_labels: Labels) -> Fitted:
    """Return the model with calibrated probabilities; no prediction changes.

    The temperature is chosen on the predictions that chose the model: out of fold, or on val, which the model that
    predicted it was not fitted on. A strategy that has calibrated already (`KEY` in its details) stays as it is.

    Args:
        fitted: Its model's head is changed in place.
        val_labels: (N_val,).
    """
    if KEY in fitted.details:
        return fitted
    held_out = predictions(fitted, val_labels)
    temperature = choose_temperature(held_out.probabilities, held_out.labels)
    after = replace(held_out, probabilities=at_temperature(held_out.probabilities, temperature))
    apply_temperature(fitted.model.head, temperature)
    on = "val" if fitted.out_of_fold is None else "out of fold"
    facts = calibration_facts(temperature, on, held_out.metrics(), after.metrics())
    return replace(
        fitted,
        val=at_temperature(fitted.val, temperature),
        out_of_fold=None if fitted.out_of_fold is None else after,
        details={**fitted.details, KEY: facts},
    )


def predictions(fitted: Fitted, val_labels: Labels) -> OutOfFold:
    """Return predictions of images that were not fitted: out of fold, or of val with labels (N_val,)."""
    return fitted.out_of_fold or OutOfFold(fitted.val, val_labels, np.arange(len(val_labels)))


def calibration_facts(
    temperature: float, on: str, before: Mapping[str, float | int], after: Mapping[str, float | int]
) -> dict[str, Any]:
    """Return the entry of metrics.json.

    Args:
        temperature: Chosen.
        on: The images that chose it, "val" or "out of fold".
        before: The metrics on these images without it.
        after: Those with it.
    """
    about = {"temperature": round(temperature, 6), "on": on, "images": int(before["n"])}
    return {**about, "before": _kept(before), "after": _kept(after)}


def with_test(facts: Mapping[str, Any], probabilities: Probabilities, labels: Labels) -> dict[str, Any]:
    """Return the entry with loss and calibration error on test, before and after.

    Args:
        facts: The entry.
        probabilities: (N, K) of the calibrated model on test.
        labels: (N,).
    """
    without = compute_metrics(at_temperature(probabilities, 1 / facts["temperature"]), labels)
    found = compute_metrics(probabilities, labels)
    return {**facts, "test": {"before": _kept(without), "after": _kept(found)}}


@torch.no_grad()
def apply_temperature(head: Head, temperature: float) -> None:
    """Divide the logits of a head by the temperature, in place."""
    if isinstance(head, NeighborHead):
        head.temperature *= temperature
    else:
        for parameter in head.parameters():
            parameter.div_(temperature)


def _kept(figures: Mapping[str, float | int]) -> dict[str, float | int]:
    return {key: figures[key] for key in ("nll", "ece")}
