"""Advice: all measurements of a data set with a backbone, and the recommendation."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from transferkit.advisor.costs import Speed, Work, estimate_all, make_work, measure_speed
from transferkit.advisor.curve import Curve, learning_curve
from transferkit.advisor.distance import Distance, activation_distance
from transferkit.advisor.evidence import Evidence
from transferkit.advisor.measure import CS, Measured, measure, sample
from transferkit.advisor.quadrant import Verdict, judge
from transferkit.backbones.backbone import Backbone
from transferkit.config.choice_files import choices
from transferkit.config.compose import load_strategies
from transferkit.data.imagedata import ImageData
from transferkit.device import run_place
from transferkit.features.from_settings import Extract
from transferkit.training.adapters import has_peft, target_layers
from transferkit.training.trained_parameters import trained_parameters

log = logging.getLogger(__name__)

NOT_ADVISED = ("auto", "norm_tune")
"""Strategies that are neither advised nor counted in the budget of `auto`: `bitfit` trains more, at the same cost."""

STRATEGY_CS = 45
"""The number of values of C that the strategies try, for the costs."""


@dataclass(frozen=True)
class Advice:
    """The measurements, and the recommendation that follows.

    Attributes:
        evidence: The numbers that determine the place in the quadrant.
        verdict: The place in the quadrant, and the strategies in order of expected accuracy.
        measured: Probes and scores, with the features of the top stage.
        distance: Of the activations from the source's; None without batch norm or with random weights.
        curve: The learning curve, extrapolated to more images.
        costs: Expected seconds by strategy.
        work: The amount of work that the costs are for.
        speed: Of the network on this machine.
        data: The train and val images that were measured; a sample of large data sets.
    """

    evidence: Evidence
    verdict: Verdict
    measured: Measured
    distance: Distance | None
    curve: Curve
    costs: Mapping[str, float]
    work: Work
    speed: Speed
    data: ImageData

    @property
    def cross_validated(self) -> bool:
        """Whether probes were cross-validated on train and val, since val is small."""
        return self.measured.judged > len(self.data.val)


def advise(backbone: Backbone, data: ImageData, settings: Mapping[str, Any], extract: Extract, most: int) -> Advice:
    """Measure a data set with a backbone; no test image is used.

    Args:
        backbone: With its weights; it is not changed.
        data: The splits.
        settings: The resolved configuration: `seed`, `trainer`.
        extract: Computes features, or reads them from the cache.
        most: Maximum number of train images, and of val images, that are measured.
    """
    seed = int(settings["seed"])
    part = sample(data, most, seed)
    if len(part.train) < len(data.train):
        log.info("Measured on %d of %d training images.", len(part.train), len(data.train))
    measured = measure(backbone, part, extract, seed)
    distance = activation_distance(backbone, part.train, seed=seed)
    evidence = gather(backbone, data, measured, distance)
    top = measured.probes[backbone.top]
    curve = learning_curve(measured.train, part.train.labels, measured.val, part.val.labels, top.C, seed)
    speed = measure_speed(backbone, part.train, *run_place(settings))
    probes = {name: probe.seconds * STRATEGY_CS / len(CS) for name, probe in measured.probes.items()}
    sizes = len(data.train), len(data.val)
    work = make_work(sizes, settings, backbone, {name: s * sizes[0] / len(part.train) for name, s in probes.items()})
    costs = estimate_all(runnable_strategies(backbone).values(), work, speed)
    return Advice(evidence, judge(evidence), measured, distance, curve, costs, work, speed, part)


def gather(backbone: Backbone, data: ImageData, measured: Measured, distance: Distance | None) -> Evidence:
    """The plain numbers that determine the place in the quadrant."""
    return Evidence(
        images=len(data.train),
        classes=len(data.class_names),
        features=int(measured.train.shape[1]),
        judged=measured.judged,
        probes={name: probe.val_top1 for name, probe in measured.probes.items()},
        neighbors=measured.neighbors.val_top1,
        distance=distance.all if distance else None,
        early=distance.early if distance else None,
        late=distance.late if distance else None,
        pretrained=backbone.weights_name != "random",
        losses={name: probe.val_nll for name, probe in measured.probes.items()},
    )


@cache
def known_strategies() -> Mapping[str, Mapping[str, Any]]:
    """The content of the YAMLs in conf/strategy by name, but for `NOT_ADVISED`.

    Composed once, which takes a third of a second; do not modify the result.
    """
    return load_strategies([name for name in choices("strategy") if name not in NOT_ADVISED])


def runnable_strategies(backbone: Backbone) -> dict[str, Mapping[str, Any]]:
    """Those of `known_strategies` for which the network has the layers, and this installation the package."""
    return {name: strategy for name, strategy in known_strategies().items() if _can_run(strategy, backbone)}


def _can_run(strategy: Mapping[str, Any], backbone: Backbone) -> bool:
    trained = {(phase or {}).get("parameters", "all") for phase in strategy.get("phases", {}).values()}
    if "lora" in trained and not (has_peft() and target_layers(backbone, strategy["lora"]["targets"])):
        return False
    narrow = trained & {"norms", "biases_and_norms"}
    return all(any(True for _ in trained_parameters(backbone, which)) for which in narrow)


def to_json(advice: Advice) -> dict[str, Any]:
    """Everything except arrays, as plain values."""
    evidence, verdict, distance = advice.evidence, advice.verdict, advice.distance
    return {
        "quadrant": {
            "size": verdict.size,
            "similarity": verdict.similarity,
            "strategy": verdict.strategy,
            "recommended": verdict.recommended,
            "expected_top1": {name: round(value, 4) for name, value in verdict.contenders.items()},
            "probability": round(verdict.probability, 3),
            "sureness": verdict.sureness,
            "large": round(verdict.large, 3),
            "different": round(verdict.different, 3),
            "reasons": verdict.reasons,
        },
        "evidence": {**asdict(evidence), "per_class": evidence.per_class},
        "stages": {
            name: {"C": p.C, "val_top1": p.val_top1, "val_nll": p.val_nll, "features": p.features}
            for name, p in advice.measured.probes.items()
        },
        "neighbors": asdict(advice.measured.neighbors),
        "distance": None if distance is None else {"images": distance.images, "stages": distance.stages},
        "scores": dict(advice.measured.scores),
        "learning_curve": _curve_json(advice.curve),
        "costs": {name: round(seconds, 2) for name, seconds in advice.costs.items()},
        "speed": asdict(advice.speed),
        "measured_on": {"train": len(advice.data.train), "val": len(advice.data.val)},
        "cross_validated": advice.cross_validated,
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    values = asdict(curve)
    accuracy = np.asarray(curve.accuracy)
    values["mean"] = {n: float(accuracy[np.asarray(curve.sizes) == n].mean()) for n in sorted(set(curve.sizes))}
    return values
