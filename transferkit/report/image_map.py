"""A map of test images by their features, on which the points of the gallery open their image."""

from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.arrays import Probabilities
from transferkit.data.imageset import ImageSet
from transferkit.extras import import_extra
from transferkit.features.from_settings import Extract
from transferkit.models.transfer_model import TransferModel
from transferkit.report.figures import LINES
from transferkit.report.gallery import shown_indices
from transferkit.report.run_result import Places, RunResult

MOST, FEWEST = 300, 10
"""Images on the map: t-SNE of 300 takes about half a second."""
COMPONENTS = 50
"""Principal components that t-SNE starts from, as in van der Maaten & Hinton 2008, section 4.2."""
PERPLEXITY, ANGLE = 15.0, 0.8
"""As trustworthy for 300 images as scikit-learn's 30 and 0.5, in two thirds of the time."""
NEIGHBORS = 15
"""Of UMAP, its default: the size of what counts as local."""
WIDTH, HEIGHT, EDGE = 560, 400, 12


def find_places(
    model: TransferModel, test: ImageSet, probabilities: Probabilities, extract: Extract, method: str
) -> Places | None:
    """Place test images in a plane: those of the gallery, and others spread over the set.

    Args:
        model: Its last stage gives the features; there is no map where training changed them, since they are not in
            the cache.
        test: N images.
        probabilities: (N, K).
        extract: Reads the features from the cache.
        method: As `place` has it.
    """
    stage = model.stages[-1]
    if len(test) < FEWEST or not model.backbone.as_loaded(stage):
        return None
    rest = np.linspace(0, len(test) - 1, min(len(test), MOST)).round().astype(np.int64)
    first = shown_indices(test, probabilities)
    indices = np.array(list(dict.fromkeys([*first.tolist(), *rest.tolist()]))[:MOST], dtype=np.int64)
    features = extract(model.backbone, test.subset(indices), [stage], model.pool)[stage]
    return Places(indices, *place(np.array(features), method))


def place(features: npt.NDArray[np.float32], method: str = "tsne") -> tuple[npt.NDArray[np.float32], str]:
    """Return places (M, 2) of features (M, D), M at least 3, and the name of the method.

    Args:
        features: Of the images.
        method: "tsne"; "umap" (McInnes et al. 2018); or "pca", the first two principal components.

    Raises:
        TransferkitError: UMAP is not installed.
    """
    from sklearn.decomposition import PCA

    if (features == features[0]).all():
        return np.zeros((len(features), 2), dtype=np.float32), "all features are equal"
    components = PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features)
    if method == "pca":
        plane = np.zeros((len(features), 2), dtype=np.float32)
        plane[:, : components.shape[1]] = components[:, :2]
        return plane, "principal components"
    if method == "umap":
        near = min(NEIGHBORS, len(features) - 1)
        mapper = import_umap().UMAP(n_neighbors=near, init="pca", random_state=0, n_jobs=1)
        return np.asarray(mapper.fit_transform(components), dtype=np.float32), "UMAP"
    return _tsne(components), "t-SNE"


def _tsne(components: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    tsne = TSNE(init="random", perplexity=perplexity, angle=ANGLE, max_iter=500, random_state=0)
    return np.asarray(tsne.fit_transform(components), dtype=np.float32)


def import_umap() -> Any:
    """Return the module umap.

    Raises:
        TransferkitError: It is not installed.
    """
    (umap,) = import_extra("report.map=umap needs umap-learn", "umap", "umap", otherwise="; or report.map=tsne")
    return umap


def map_key(result: RunResult) -> dict[str, str]:
    """Return what the colours mean: classes, or right and wrong where there are more classes than colours."""
    if len(result.class_names) <= len(LINES):
        return {name: f"var(--line{i})" for i, name in enumerate(result.class_names, 1)}
    return {"right": "var(--line1)", "wrong": "var(--line2)"}


def map_figure(result: RunResult, in_gallery: set[int]) -> str:
    """Draw the map as SVG; a point of the gallery is a link to its image."""
    assert result.places is not None
    places, names, colours = result.places, result.class_names, list(map_key(result).values())
    low, high = places.xy.min(axis=0), places.xy.max(axis=0)
    inside = np.array([WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE])
    spots = EDGE + (places.xy - low) / np.maximum(high - low, 1e-9) * inside
    predicted = result.probabilities[places.indices].argmax(axis=1)
    true = result.test.labels[places.indices]
    plain, linked = [], []
    for index, (x, y), label, best in zip(places.indices.tolist(), spots, true, predicted, strict=True):
        colour = colours[int(label) if len(names) <= len(LINES) else int(label != best)]
        told = escape(names[label] if label == best else f"{names[label]}, predicted {names[best]}")
        kind = ' class="wrong"' if label != best else ""
        size = 6 if index in in_gallery else 3.5
        circle = f'<circle{kind} cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"><title>{told}</title></circle>'
        if index in in_gallery:
            linked.append(f'<a href="#image-{index}" aria-label="{told}, image {index + 1}">{circle}</a>')
        else:
            plain.append(circle)
    label = f"Map of {len(places.indices)} test images by their features"
    body = "".join([*plain, *linked])
    return f'<svg role="group" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}">{body}</svg>'
