"""Measurements from one extraction at all feature stages: probes, nearest neighbours, transferability scores."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax

from transferkit.advisor.evidence import standard_error
from transferkit.advisor.scores import h_score, leep, logme
from transferkit.arrays import Labels, Probabilities
from transferkit.backbones.backbone import Backbone
from transferkit.choices import METRICS, NEIGHBORS
from transferkit.data.identical import Contents, number_contents
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.data.stratify import cut
from transferkit.features.from_settings import Extract
from transferkit.folds import FOLDS, Fold, make_folds
from transferkit.metrics import compute_metrics
from transferkit.probes.linear import LinearProbe
from transferkit.probes.neighbors import NeighborHead, vote_shares
from transferkit.ranking import rank

Folds = list[Fold]

CS = tuple(10.0**exponent for exponent in (-5, -4, -3, -2, -1, 0, 1, 2))
"""The advisor's values of C: enough to compare stages; the strategies try 45."""

ENOUGH_VAL = 200
"""Size of val from which accuracies are measured on it; their standard error is then below 3.6 points."""


@dataclass(frozen=True)
class StageProbe:
    """The probe of one stage.

    Attributes:
        C: The best of those tried, by accuracy.
        C_to_use: Of those whose accuracy is within half a standard error of the best, the one with the lowest negative
            log-likelihood. With few images these accuracies differ only by noise, and the loss, which is continuous,
            selects better among them (docs/advisor.md).
        val_top1: Accuracy with `C`, on val or over the folds.
        val_nll: Negative log-likelihood, nats.
        features: D.
        seconds: Time of fitting the probe once.
    """

    C: float
    C_to_use: float
    val_top1: float
    val_nll: float
    features: int
    seconds: float


@dataclass(frozen=True)
class Neighbors:
    """Nearest neighbours at the top stage.

    Attributes:
        metric: The better of "l2" and "cosine".
        k: The best of those tried.
        val_top1: Accuracy, on val or over the folds.
        val_nll: Negative log-likelihood, nats.
    """

    metric: str
    k: int
    val_top1: float
    val_nll: float


@dataclass(frozen=True)
class Measured:
    """Everything measured on features.

    Attributes:
        probes: By stage, from the first to the top one.
        neighbors: Nearest neighbours at the top stage.
        judged: Number of images these were measured on: val, or train and val by cross-validation.
        scores: `logme` and, where they apply, `h_score` and `leep`.
        train: Features of train at the top stage.
        val: Of val.
        held_out: (J, K) probabilities of images of train and val by the top stage's probes, fitted without them.
        held_out_rows: (J,) those images, as rows of train and val together.
    """

    probes: Mapping[str, StageProbe]
    neighbors: Neighbors
    judged: int
    scores: Mapping[str, float]
    train: npt.NDArray[np.float32]
    val: npt.NDArray[np.float32]
    held_out: Probabilities
    held_out_rows: npt.NDArray[np.int64]


def sample(data: ImageData, most: int, seed: int) -> ImageData:
    """The data with train and val cut to at most `most` images each, stratified by class; no test images.

    Every class stays in train.
    """
    train, val = (_part(images, most, seed, stream) for stream, images in enumerate((data.train, data.val), start=70))
    return replace(data, train=train, val=val, test=data.test.subset([]))


def measure(backbone: Backbone, data: ImageData, extract: Extract, seed: int) -> Measured:
    """Extract all stages of train and val once, and measure."""
    stages = [*backbone.feature_stages]
    knows_source = "head" in backbone.stage_names and backbone.weights_name != "random"
    wanted = [*stages, "head"] if knows_source else stages
    train, val = (extract(backbone, images, wanted) for images in (data.train, data.val))
    top, labels = backbone.top, data.fit_labels()
    contents = number_contents({"train": data.train, "val": data.val})
    folds = judging_folds(labels, len(data.train), np.concatenate([*contents.values()]), seed)
    both = {stage: np.concatenate([train[stage], val[stage]]) for stage in stages}
    held_out: list[Probabilities] = []
    return Measured(
        probes={
            stage: fit_probe(both[stage], labels, folds, kept=held_out if stage == top else None) for stage in stages
        },
        neighbors=find_neighbors(both[top], labels, folds),
        judged=sum(len(test) for _, test in folds),
        scores=transfer_scores(train[top], data.train.labels, train["head"] if knows_source else None),
        train=train[top],
        val=val[top],
        held_out=np.concatenate(held_out),
        held_out_rows=np.concatenate([test for _, test in folds]),
    )


def judging_folds(labels: Labels, train: int, contents: Contents, seed: int) -> Folds:
    """Folds of (training rows, evaluation rows), as indices into train and val together.

    With fewer than 200 images accuracies on val are imprecise; then train and val are cross-validated together.

    Args:
        labels: Of train and val (N,), train first.
        train: Number of train rows.
        contents: (N,): images with the same number have the same content, and are never parted.
        seed: Of the folds.
    """
    rows = np.arange(len(labels))
    splits = min(FOLDS, *(len(np.unique(contents[labels == label])) for label in np.unique(labels)))
    if len(labels) - train >= ENOUGH_VAL or splits < 2:
        return [(rows[:train], rows[train:])]
    return make_folds(labels, contents, seed=seed, splits=splits)


def fit_probe(
    features: npt.NDArray[np.float32],
    labels: Labels,
    folds: Folds,
    Cs: Sequence[float] = CS,
    kept: list[Probabilities] | None = None,
) -> StageProbe:
    """Linear probes with few values of C, evaluated over the folds; `kept` gets the probabilities of each fold."""
    start = time.perf_counter(), time.process_time()
    top1, nll, judged = np.zeros(len(Cs)), np.zeros(len(Cs)), 0
    for rows, test in folds:
        probe = LinearProbe(Cs=Cs, refit=False, max_iter=200)
        probe.fit(features[rows], labels[rows], features[test], labels[test])
        top1 += len(test) * np.array([row["val_top1"] for row in probe.path_])
        nll += len(test) * np.array([row["val_nll"] for row in probe.path_])
        judged += len(test)
        if kept is not None:
            kept.append(probe.val_probabilities_.astype(np.float32))
    best = max(range(len(Cs)), key=lambda i: rank(float(top1[i]) / judged, float(nll[i])))
    equal = top1 >= top1[best] - judged * standard_error(float(top1[best] / judged), judged) / 2
    return StageProbe(
        C=float(Cs[best]),
        C_to_use=float(Cs[int(np.where(equal, nll, np.inf).argmin())]),
        val_top1=float(top1[best] / judged),
        val_nll=float(nll[best] / judged),
        features=int(features.shape[1]),
        # CPU time if that is less: on a busy machine waiting would use up the budget of strategy=auto.
        seconds=min(time.perf_counter() - start[0], time.process_time() - start[1]) / len(folds),
    )


def find_neighbors(features: npt.NDArray[np.float32], labels: Labels, folds: Folds) -> Neighbors:
    """The best metric and k over the folds: by accuracy, then loss, then the smaller k."""
    classes = int(labels.max()) + 1
    ks = [k for k in NEIGHBORS if k <= min(len(rows) for rows, _ in folds)]
    judged = np.concatenate([labels[test] for _, test in folds])
    tried = []
    for metric in METRICS:
        found = [_neighbor_labels(features, labels, rows, test, ks[-1], metric) for rows, test in folds]
        nearest = torch.from_numpy(np.concatenate(found))
        for k in ks:
            figures = compute_metrics(vote_shares(nearest[:, :k], classes).numpy(), judged)
            tried.append(Neighbors(metric, k, float(figures["top1"]), float(figures["nll"])))
    return max(tried, key=lambda row: rank(row.val_top1, row.val_nll))


def _neighbor_labels(
    features: npt.NDArray[np.float32],
    labels: Labels,
    rows: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
    k: int,
    metric: str,
) -> Labels:
    """Labels (N, k) of the nearest `rows` of each row of `test`, nearest first."""
    head = NeighborHead(torch.from_numpy(features[rows]), torch.from_numpy(labels[rows]), 1, k, metric)
    _, indices = head.search(torch.from_numpy(features[test]))
    return np.asarray(labels[rows][indices.numpy()])


def transfer_scores(
    top: npt.NDArray[np.float32], labels: Labels, source_logits: npt.NDArray[np.float32] | None
) -> dict[str, float]:
    """LogME; the H-score with more than two images a feature; LEEP if the backbone has its source classifier."""
    scores = {"logme": logme(top, labels)}
    if len(top) > 2 * top.shape[1]:
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
