"""The facts of the report in words and short tables: result, setting, cost, data, versions."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from transferkit import __version__
from transferkit.data.folder_walk import ignored_files
from transferkit.data.identical import sentences
from transferkit.metrics import wilson_interval
from transferkit.report.run_result import RunResult

NOT_FINETUNED = "not finetuned: the probe's head was kept"
"""Of a strategy that trains stages, where no training improved on the probe that it started from."""

TOP5_FROM = 6
"""Fewest classes for which top-5 accuracy is shown."""

SCORES = {
    "top1": ("Top-1 accuracy", "share of images whose most likely class is correct"),
    "top5": ("Top-5 accuracy", "share of images whose class is among the five most likely"),
    "balanced_accuracy": ("Balanced accuracy", "mean recall over the classes"),
    "nll": ("Negative log-likelihood", "nats per image; 0 is perfect, confident mistakes raise it"),
    "ece": ("Calibration error (ECE)", "mean gap between confidence and accuracy; 0 is perfect"),
    "n": ("Images", ""),
}

STEPS = {
    "data": "reading and splitting the data",
    "networks": "comparing networks",
    "extract": "extracting features from the frozen backbone",
    "fit": "fitting",
    "calibrate": "the distance of known images",
    "evaluate": "evaluation",
}


@dataclass(frozen=True)
class Headline:
    """The result in a sentence.

    Attributes:
        correct: Test images classified correctly.
        n: Test images.
        low: Lower bound of the 95 % interval of the accuracy.
        high: Upper bound.
        guessing: Accuracy of always predicting the most frequent class of the test images.
        commonest: Its name.
    """

    correct: int
    n: int
    low: float
    high: float
    guessing: float
    commonest: str


@dataclass(frozen=True)
class Score:
    """A row of the table of results: `kind` (the key in metrics.json) sets the format of the `values` per split."""

    kind: str
    name: str
    meaning: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Split:
    """Number of images of one split, in total and of the smallest and largest class."""

    name: str
    images: int
    smallest: int
    largest: int


def headline(result: RunResult) -> Headline:
    """Count the correct predictions, and compare with the most frequent class."""
    labels = result.test.labels
    correct, n = int((result.probabilities.argmax(axis=1) == labels).sum()), len(labels)
    counts = np.bincount(labels, minlength=len(result.class_names))
    low, high = wilson_interval(correct, n)
    return Headline(correct, n, low, high, float(counts.max() / n), result.class_names[int(counts.argmax())])


def scores(result: RunResult) -> list[Score]:
    """Return the table of results, with the splits that were measured."""
    few = len(result.class_names) < TOP5_FROM
    splits = [split for split in ("val", "test") if split in result.metrics]
    return [
        Score(kind, name, meaning, {split: result.metrics[split][kind] for split in splits})
        for kind, (name, meaning) in SCORES.items()
        if not (few and kind == "top5")
    ]


def cross_validated(metrics: Mapping[str, Any]) -> bool:
    """Return whether folds of train and val chose, so that the metrics of val are out of fold."""
    return bool(metrics.get("selection", {}).get("by") == "cv")


def judged_on(metrics: Mapping[str, Any]) -> str:
    """Return the images that the metrics of val are of: "val", or "out of fold"."""
    return "out of fold" if cross_validated(metrics) else "val"


def chosen_by(metrics: Mapping[str, Any]) -> str:
    """Return a sentence about the data that all choices were made on."""
    selection = metrics.get("selection", {})
    if not cross_validated(metrics):
        return "All model selection used val; test was evaluated once, at the end."
    folds = f"{selection['folds']} folds" if "folds" in selection else "folds"
    times = f", {selection['repeats']} times" if selection.get("repeats", 1) > 1 else ""
    return (
        f"Model selection used cross-validation of train and val ({folds}{times}); the final model is fitted on both. "
        f"Out-of-fold figures are of {selection['images']} images, each predicted by models fitted without it. "
        "Test was evaluated once, at the end."
    )


def chosen_C(result: RunResult) -> dict[str, float]:
    """Return the selected C of each stage with a sweep."""
    stages = result.metrics.get("stages", {})
    return {stage: stages[stage]["C"] for stage in result.sweep if "C" in stages.get(stage, {})}


def setting(result: RunResult) -> dict[str, str]:
    """Return the setting of the run: data set, backbone, strategy, head, protocol, precision."""
    metrics = result.metrics
    names = {
        "Data set": f"{metrics['dataset']}, {result.target.words()}",
        "Model": metrics.get("model", ""),
        "Backbone": metrics.get("backbone", ""),
        "Weights": metrics.get("weights", ""),
        "Strategy": ": ".join(metrics[key] for key in ("strategy", "chosen") if metrics.get(key)),
        "Head": head(metrics),
        "Temperature": temperature(metrics),
        "Training": NOT_FINETUNED if metrics.get("finetuned") is False else "",
        "Protocol": metrics.get("protocol", ""),
        "Precision": metrics.get("precision", ""),
    }
    return {name: str(value) for name, value in names.items() if value}


def temperature(metrics: Mapping[str, Any]) -> str:
    """Return the temperature of the probabilities, and the images it was chosen on; nothing where there is none."""
    found = metrics.get("calibration")
    return "" if not found else f"{found['temperature']:.2f}, chosen on {found['images']:,} images ({found['on']})"


def head(metrics: Mapping[str, Any]) -> str:
    """Return the kind of head, and the stage it is on."""
    kind = f"{plural(metrics['k'], 'nearest neighbour')} ({metrics['metric']})" if "k" in metrics else "linear"
    stages = metrics.get("stages", {})
    chosen = [metrics["stage"]] if "stage" in metrics else list(stages)
    return "; ".join(f"{kind}, on {_features(stage, stages.get(stage, {}), metrics)}" for stage in chosen)


def _features(stage: str, figures: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    notes = [f"{figures['features']} features"] if "features" in figures else []
    notes += [f"pooled by {metrics['pool']}"] if metrics.get("pool", "avg") != "avg" else []
    return stage.replace("+", " + ") + (f" ({', '.join(notes)})" if notes else "")


def stage_scores(result: RunResult) -> dict[str, float]:
    """Return top-1 on val of every probed stage, in the order of the network."""
    stages = result.metrics.get("stages", {})
    return {stage: figures["val_top1"] for stage, figures in stages.items() if "val_top1" in figures}


def splits(result: RunResult) -> list[Split]:
    """Return the sizes of the splits."""
    return [
        Split(name, int(counts.sum()), int(counts.min()), int(counts.max()))
        for name, counts in result.class_counts.items()
    ]


def data_notes(result: RunResult) -> list[str]:
    """Return sentences on images of the same content, and on files that were not read."""
    facts = result.metrics.get("data")
    if not facts:
        return []
    return [
        *sentences(facts["identical"]),
        *([ignored_files(facts["ignored_files"])] if facts["ignored_files"] else []),
    ]


def cost(result: RunResult) -> dict[str, float]:
    """Return the seconds of each step in order, and of the rest."""
    seconds: dict[str, float] = dict(result.metrics.get("seconds", {}))
    total = seconds.pop("total", None)
    rows = {STEPS.get(step, step): value for step, value in seconds.items()}
    if total is not None:
        rows["other (until this report)"] = max(0.0, total - sum(seconds.values()))
        rows["total"] = total
    return rows


def versions() -> dict[str, str]:
    """Return the versions of the software that computed the result."""
    packages = {name: version(name) for name in ("torch", "torchvision", "timm", "scikit-learn")}
    return {"transferkit": __version__, **packages, "Python": platform.python_version(), "System": platform.platform()}


def duration(seconds: float) -> str:
    """Write seconds in readable units: `3.2 s`, `2 min 05 s`, `1 h 03 min`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(share: float, digits: int = 1) -> str:
    """Write a fraction as `96.1 %`; NaN as a dash."""
    return "–" if np.isnan(share) else f"{100 * share:.{digits}f}\u202f%"


def plain(number: float) -> str:
    """Write three significant digits without an exponent: 3160, 0.00178."""
    return np.format_float_positional(float(f"{number:.3g}"), trim="-")


def show_score(value: float | None, kind: str) -> str:
    """Write a value of `metrics.json`; None, which is undefined, as a dash."""
    if value is None:
        return "–"
    if kind == "number":
        return f"{value:.4g}"
    if kind == "n":
        return f"{value:,}"
    return f"{value:.3f}" if kind == "nll" else percent(value)


def plural(n: int, noun: str) -> str:
    """Write `1 image`, `1,020 images`, `3 classes`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}{'es' if noun.endswith('s') else 's'}"


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Write the resolved configuration as YAML."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(settings)))
