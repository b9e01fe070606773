"""What one extraction at all feature stages says: probes by depth, nearest neighbours, transferability scores."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier

from transferkit.advisor.scores import h_score, leep, logme
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.data.stratify import cut
from transferkit.extraction import Extract
from transferkit.metrics import compute_metrics
from transferkit.probe import LinearProbe

Features = Mapping[str, npt.NDArray[np.float32]]

CS = tuple(10.0**exponent for exponent in (-5, -4, -3, -2, -1, 0, 1, 2))
"""The advisor's values of C: enough to tell stages apart; the strategies try 45."""

NEIGHBORS = 5


@dataclass(frozen=True)
class StageProbe:
    """The probe of one stage.

    Attributes:
        C: Chosen on val.
        val_top1: Accuracy on val.
        val_nll: Negative log-likelihood on val, nats.
        features: D.
        seconds: That the probe took.
        probabilities: (N_val, K).
    """

    C: float
    val_top1: float
    val_nll: float
    features: int
    seconds: float
    probabilities: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Everything measured on features.

    Attributes:
        probes: By stage, from the first to the top one.
        neighbors: Top-1 on val of the five nearest neighbours (cosine) at the top stage.
        scores: `logme` and, where they apply, `h_score` and `leep`.
        train: Features of train at the top stage.
        val: Of val.
        extract_seconds: That features took; next to nothing where they were in the cache.
    """

    probes: Mapping[str, StageProbe]
    neighbors: float
    scores: Mapping[str, float]
    train: npt.NDArray[np.float32]
    val: npt.NDArray[np.float32]
    extract_seconds: float


def sample(data: ImageData, most: int, seed: int) -> ImageData:
    """The data with train and val cut to at most so many images each, in proportion to the classes; no test images.

    Every class stays in train.
    """
    train, val = (_part(images, most, seed, stream) for stream, images in enumerate((data.train, data.val), start=70))
    return replace(data, train=train, val=val, test=data.test.subset([]))


def measure(backbone: Backbone, data: ImageData, extract: Extract, seed: int) -> Measured:
    """Extract all stages of train and val once, and measure."""
    stages = [*backbone.feature_stages]
    knows_source = "head" in backbone.stage_names and backbone.weights_name != "random"
    start = time.perf_counter()
    wanted = [*stages, "head"] if knows_source else stages
    train, val = (extract(backbone, images, wanted) for images in (data.train, data.val))
    seconds = time.perf_counter() - start
    top, labels = backbone.top, data.train.labels
    return Measured(
        probes={stage: fit_probe(train[stage], labels, val[stage], data.val.labels, seed) for stage in stages},
        neighbors=neighbor_accuracy(train[top], labels, val[top], data.val.labels),
        scores=transfer_scores(train[top], labels, train["head"] if knows_source else None),
        train=train[top],
        val=val[top],
        extract_seconds=seconds,
    )


def fit_probe(
    train: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    val: npt.NDArray[np.float32],
    val_labels: npt.NDArray[np.int64],
    seed: int,
    Cs: Sequence[float] = CS,
) -> StageProbe:
    """A linear probe with few values of C, not refitted."""
    start = time.perf_counter()
    probe = LinearProbe(Cs=Cs, random_state=seed, refit=False, max_iter=200).fit(train, labels, val, val_labels)
    figures = compute_metrics(probe.val_probabilities_, np.searchsorted(probe.classes_, val_labels))
    return StageProbe(
        C=probe.C_,
        val_top1=float(figures["top1"]),
        val_nll=float(figures["nll"]),
        features=int(train.shape[1]),
        seconds=time.perf_counter() - start,
        probabilities=probe.val_probabilities_,
    )


def neighbor_accuracy(
    train: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    val: npt.NDArray[np.float32],
    val_labels: npt.NDArray[np.int64],
) -> float:
    """Top-1 on val of the nearest neighbours by cosine."""
    search = KNeighborsClassifier(min(NEIGHBORS, len(labels)), metric="cosine", weights="distance")
    return float(search.fit(train, labels).score(val, val_labels))


def transfer_scores(
    top: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], source_logits: npt.NDArray[np.float32] | None
) -> dict[str, float]:
    """LogME; the H-score where there are more images than features; LEEP where the source's classifier is there."""
    scores = {"logme": logme(top, labels)}
    if len(top) > top.shape[1]:
        scores["h_score"] = h_score(top, labels)
    if source_logits is not None:
        scores["leep"] = leep(softmax(np.asarray(source_logits, dtype=np.float64), axis=1), labels)
    return scores


def _part(images: ImageSet, most: int, seed: int, stream: int) -> ImageSet:
    if len(images) <= most:
        return images
    rows = np.arange(len(images))
    classes = len(np.unique(images.labels))
    rest, _ = cut(rows, images.labels, len(images) - max(most, classes), keep=1, seed=seed, stream=stream)
    return images.subset(rest)
