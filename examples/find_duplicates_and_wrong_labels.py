"""Look for near duplicates and wrong labels with features: nearest neighbours of every image of a set.

Command: python examples/find_duplicates_and_wrong_labels.py
Result: the 20 closest pairs are the 20 hidden copies (brighter, noisy), and the 20 images whose neighbours have other
labels are the 20 with wrong ones; in about ten seconds, without a network. With images of your own:
`transferkit task=embed images=DIR backbone=efficientnet_lite0` writes the features, and np.load reads them.
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors

import transferkit as tk
from transferkit.data.imageset import ImageSet

HIDDEN = 20
NEIGHBORS = 10


def digits_with_copies(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 8, 8) and labels of the bundled digits; the last `HIDDEN` are altered copies of the first."""
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    images = np.stack([np.asarray(data.train.image(i).convert("L")) for i in range(len(data.train))])
    noisy = 1.05 * images[:HIDDEN] + rng.normal(0, 3, images[:HIDDEN].shape)
    copies = noisy.clip(0, 255).astype(np.uint8)
    return np.concatenate([images, copies]), np.concatenate([data.train.labels, data.train.labels[:HIDDEN]])


def main() -> tuple[int, int]:
    """Return how many of the copies, and of the wrong labels, were found."""
    rng = np.random.default_rng(0)
    images, labels = digits_with_copies(rng)
    wrong = rng.choice(len(labels), HIDDEN, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, HIDDEN)) % 10

    backbone = tk.create_backbone("narrow_resnet10", weights="resnet_glyphs")
    features = tk.extract_features(backbone, ImageSet.from_arrays(images, labels), stages=["stage4"])["stage4"]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances, near = NearestNeighbors(n_neighbors=NEIGHBORS + 1).fit(unit).kneighbors(unit)
    distances, near = distances[:, 1:], near[:, 1:]  # the nearest of all is the image itself

    closest = np.argsort(distances[:, 0])
    pairs = list(dict.fromkeys(tuple(sorted((int(i), int(near[i, 0])))) for i in closest))[:HIDDEN]
    copies = sum(second - first == len(images) - HIDDEN for first, second in pairs)
    print(f"{copies} of {HIDDEN} copies are among the {HIDDEN} closest pairs")

    agreement = (labels[near] == labels[:, None]).mean(axis=1)  # share of the neighbours that have the same label
    suspicious = np.argsort(agreement, kind="stable")[:HIDDEN]
    found = len(set(suspicious.tolist()) & set(wrong.tolist()))
    print(f"{found} of {HIDDEN} wrong labels are among the {HIDDEN} images whose neighbours disagree most")
    return copies, found


if __name__ == "__main__":
    main()
