"""Images of the same content, and images that are another one saved again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from transferkit.arrays import Features
from transferkit.backbones.backbone import Backbone
from transferkit.data.identical import number_contents
from transferkit.data.imageset import ImageSet
from transferkit.features.from_settings import Extract
from transferkit.probes.neighbors import nearest
from transferkit.quality.image_facts import find_facts
from transferkit.quality.problems import AllImages, Ints, Problem

SAMPLE = 96
"""Images of train that are saved again to see how far such copies are."""

QUANTILE = 0.02
"""Share of those copies that may be farther than the threshold."""

_SMALLEST_SIDE = 32
_QUALITY = 75
_NEIGHBORS = 5
_FLAT = 1.0
"""Standard deviation of a gray copy below which its pattern is rounding only."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Thresholds:
    """Where near-duplicates begin; measured on copies of the set's own images.

    Attributes:
        correlation: Smallest correlation of the gray copies of 16 x 16 pixels.
        similarity: Smallest cosine similarity of the features.
    """

    correlation: float
    similarity: float


def find_identical_groups(images: AllImages) -> list[Ints]:
    """Rows of the same content, two or more; the first of each is the one to keep."""
    numbers = np.concatenate([*number_contents(dict(zip(images.NAMES, images.sets, strict=True))).values()])
    return [images.keep_first(rows) for rows in _groups(numbers)]


def copy_thresholds(
    backbone: Backbone, images: AllImages, features: Features, small: npt.NDArray[np.uint8], extract: Extract
) -> Thresholds:
    """Save images of train again, as JPEG of quality 75 and half the size, and measure how far that moves them.

    Args:
        backbone: Computes the features.
        images: All.
        features: (N_train, D) of train.
        small: (N, 256) gray copies of all images.
        extract: Computes features.
    """
    train = images.sets[0]
    rows = np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).round().astype(np.int64)
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{row}.jpg") for row in rows]
        for row, path in zip(rows.tolist(), paths, strict=True):
            _half(train.image(row)).save(path, quality=_QUALITY)
        copies = ImageSet.from_files(paths, np.zeros(len(paths)))
        moved = np.asarray(extract(backbone, copies, [backbone.top])[backbone.top])
        patterns = _patterns(find_facts(copies).small)
    similarity = (_unit(features[rows]) * _unit(moved)).sum(axis=1)
    correlation = (_patterns(small[rows]) * patterns).sum(axis=1)
    varied = small[rows].std(axis=1) >= _FLAT
    return Thresholds(
        float(np.quantile(correlation[varied], QUANTILE)) if varied.any() else 1.0,
        float(np.quantile(similarity, QUANTILE)),
    )


def find_near_groups(
    images: AllImages,
    splits: Sequence[Features],
    small: npt.NDArray[np.uint8],
    identical: Sequence[Ints],
    thresholds: Thresholds,
) -> list[Ints]:
    """Rows that are copies of each other, two or more; the first of each is the one to keep.

    Candidates are the nearest neighbours of the gray copies, searched exactly and in blocks; copies must also be alike
    in the features. Of images of the same content one takes part.

    Args:
        images: All.
        splits: Features (n, D) of train, val and test.
        small: (N, 256) gray copies.
        identical: From `find_identical_groups`.
        thresholds: From `copy_thresholds`.
    """
    others = np.concatenate([group[1:] for group in identical]) if identical else np.empty(0, np.int64)
    varied = np.flatnonzero(small.std(axis=1) >= _FLAT)
    rows = np.setdiff1d(varied, others)
    if len(rows) < 2:
        return []
    patterns = _patterns(small[rows]).astype(np.float32)
    distances, near = nearest(patterns, patterns, min(_NEIGHBORS + 1, len(rows)))
    correlation = 1 - distances.numpy().astype(np.float64) ** 2 / 2
    first, place = np.nonzero(correlation >= thresholds.correlation)
    pairs = np.unique(np.sort(np.stack([rows[first], rows[near.numpy()[first, place]]], axis=1), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs = pairs[similarities(splits, pairs) >= thresholds.similarity]
    return [images.keep_first(group) for group in _groups(components(len(images), pairs))]


def duplicate_problems(
    images: AllImages, kind: str, groups: Sequence[Ints], splits: Sequence[Features]
) -> list[Problem]:
    """A problem for each image that is not the one to keep; those in two splits or under two labels first."""
    pairs = np.array([(row, group[0]) for group in groups for row in group[1:]], dtype=np.int64).reshape(-1, 2)
    scores = similarities(splits, pairs) if kind == "near_duplicate" else np.ones(len(pairs))
    found = []
    for (row, kept), score in zip(pairs.tolist(), scores.tolist(), strict=True):
        other = images.label(kept) if images.labels[row] != images.labels[kept] else ""
        notes = [f"{images.split(row)} and {images.split(kept)}"] if images.split(row) != images.split(kept) else []
        notes += ["two labels"] if other else []
        found.append(Problem(kind, row, images.label(row), score, kept, other, ", ".join(notes)))
    return sorted(found, key=lambda problem: (not problem.suggested, not problem.note, -problem.score))


def count_copies(images: AllImages, copies: Sequence[Problem]) -> dict[str, int]:
    """How many of the problems of `duplicate_problems` are across splits, and how many under another label."""
    pairs = [(problem.row, problem.related) for problem in copies]
    across = sum(
        row is not None and kept is not None and images.split(row) != images.split(kept) for row, kept in pairs
    )
    return {"across_splits": across, "other_label": sum(bool(problem.suggested) for problem in copies)}


def group_numbers(images: AllImages, groups: Sequence[Ints]) -> Ints:
    """(N,) the same number for rows that are in a group together, here or through another group."""
    pairs = np.array([(group[0], row) for group in groups for row in group[1:]], dtype=np.int64).reshape(-1, 2)
    return components(len(images), pairs)


def components(count: int, pairs: Ints) -> Ints:
    """(count,) numbers of the connected components of a graph with these edges (M, 2)."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def similarities(splits: Sequence[Features], pairs: Ints) -> Doubles:
    """(M,) cosine similarity of the features of pairs of rows (M, 2)."""
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), 1024):
        part = pairs[start : start + 1024]
        found[start : start + 1024] = (_unit(rows_of(splits, part[:, 0])) * _unit(rows_of(splits, part[:, 1]))).sum(
            axis=1
        )
    return found


def rows_of(splits: Sequence[Features], rows: Ints) -> Features:
    """Features (M, D) of rows, in any order, of the splits together."""
    ends = np.cumsum([len(part) for part in splits])
    found = np.empty((len(rows), splits[0].shape[1]), dtype=np.float32)
    for part, end in zip(splits, ends, strict=True):
        inside = (rows >= end - len(part)) & (rows < end)
        if inside.any():
            found[inside] = part[rows[inside] - (end - len(part))]
    return found


def _half(image: Image.Image) -> Image.Image:
    """The image at half its size, but no side below 32 pixels by that."""
    factor = max(1.0, min(2.0, min(image.size) / _SMALLEST_SIDE))
    sides = round(image.width / factor), round(image.height / factor)
    return image.resize(sides, Image.Resampling.BICUBIC) if factor > 1 else image


def _groups(numbers: Ints) -> Iterator[Ints]:
    """The rows of each number that occurs more than once."""
    order = np.argsort(numbers, kind="stable")
    _, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    for start, count in zip(starts[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
        yield order[start : start + count]


def _patterns(small: npt.NDArray[np.uint8]) -> Doubles:
    """Gray copies without mean and contrast, as rows of unit length: their products are correlations."""
    values = small.astype(np.float64)
    return _unit(values - values.mean(axis=1, keepdims=True))


def _unit(rows: npt.NDArray[np.floating]) -> Doubles:
    values = np.asarray(rows, dtype=np.float64)
    lengths: Doubles = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.maximum(lengths, 1e-12)
