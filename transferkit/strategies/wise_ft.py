"""WiSE-FT: the mean of the weights before and after finetuning, whose share is chosen on held-out images.

Wortsman et al. 2022, Robust fine-tuning of zero-shot models (section 3, equation 1). Their start is a zero-shot
classifier; here it is the pretrained network with the probe's head. At test time the mean is one ordinary network.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.arrays import Labels, Probabilities
from transferkit.metrics import compute_metrics
from transferkit.models.protocols import center_probabilities
from transferkit.ranking import rank
from transferkit.strategies.context import Context
from transferkit.strategies.stops import Stop, all_stops
from transferkit.training.plan import Plan

log = logging.getLogger(__name__)

SHARES = tuple(number / 10 for number in range(11))
"""The shares of the finetuned weights that `wise_ft=auto` compares."""

State = Mapping[str, Tensor]


def mixed_stops(plan: Plan) -> list[Stop]:
    """The end of the plan at each share of its weights; empty without `plan.wise_ft`."""
    if plan.wise_ft is None:
        return []
    shares = SHARES if plan.wise_ft == "auto" else (float(plan.wise_ft),)
    end = all_stops(plan)[-1]
    return [replace(end if share else Stop(), share=share) for share in shares]


def copied_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of parameters and buffers."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def mix_weights(model: nn.Module, start: State, end: State, share: float) -> None:
    """Give a model the mean of two states: `share` of the end, the rest of the start. Counters are those of the end."""
    mixed = {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }
    model.load_state_dict(mixed)


def course_of_shares(model: Any, start: State, stops: Sequence[Stop], context: Context) -> list[Probabilities]:
    """Probabilities (N_val, K) of val at each share; the model is left with its own weights.

    Args:
        model: A `TransferModel` at the end of its training.
        start: Its state before.
        stops: From `mixed_stops`.
        context: Its val is evaluated.
    """
    end, found = copied_state(model), list[Probabilities]()
    for stop in stops:
        mix_weights(model, start, end, stop.share)
        found.append(center_probabilities(model.eval(), context.data.val, context.extract))
    model.load_state_dict(end)
    return found


def choose_share(course: Sequence[Probabilities], labels: Labels) -> int:
    """The index of the share with the highest accuracy; of several, that with the lowest loss.

    Args:
        course: Probabilities (N, K) at every share, of images that were not fitted.
        labels: (N,).
    """
    figures = [compute_metrics(found, labels) for found in course]
    return max(range(len(course)), key=lambda i: rank(figures[i]["top1"], figures[i]["nll"]))


def share_facts(
    stops: Sequence[Stop], course: Sequence[Probabilities], labels: Labels, chosen: int, on: str
) -> dict[str, Any]:
    """The entry of metrics.json: the chosen share, and accuracy and loss at each; says it in the log, too."""
    figures = [compute_metrics(found, labels) for found in course]
    rows = [
        {"share": stop.share, "top1": row["top1"], "nll": row["nll"]} for stop, row in zip(stops, figures, strict=True)
    ]
    log.info(
        "WiSE-FT: %.0f %% of the finetuned weights, %s top-1 %.1f %% (loss %.3f); finetuned alone %s.",
        *(100 * stops[chosen].share, on, 100 * figures[chosen]["top1"], figures[chosen]["nll"]),
        f"{100 * figures[-1]['top1']:.1f} % ({figures[-1]['nll']:.3f})" if stops[-1].share == 1 else "was not tried",
    )
    return {"share": stops[chosen].share, "on": on, "rows": rows}
