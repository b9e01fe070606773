"""A sweep of 45 values of C on one stage: `LinearProbe` against scikit-learn's `LogisticRegression`, warm-started.

    python benchmarks/probes.py

Features are generated: a random ReLU layer on classes of unequal directions. Processor time, one thread.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from transferkit import LinearProbe

CASES = ((195, 49, 2, 512), (195, 49, 2, 2048), (1020, 1020, 102, 512), (1020, 1020, 102, 2048))
"""Rows of train and of val, classes, features."""


def features(rows: int, classes: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % classes
    hidden = rng.normal(size=(classes, 80))[labels] + 1.5 * rng.normal(size=(rows, 80))
    layer = rng.normal(size=(80, width)) * np.geomspace(1, 0.05, 80)[:, None]
    return np.maximum(hidden @ layer / 9, 0).astype(np.float32), labels


def main() -> None:
    print("| train, val, classes, features | scikit-learn | LinearProbe | ratio | best val top-1 of each |")
    print("|---|---|---|---|---|")
    for count, val, classes, width in CASES:
        X, y = features(count + val, classes, width)
        start = time.process_time()
        probe = LinearProbe(refit=False).fit(X[:count], y[:count], X[count:], y[count:])
        ours, start = time.process_time() - start, time.process_time()
        X = X.astype(np.float64)  # in single precision its solver stops early
        scaler = StandardScaler().fit(X[:count])
        train, test = scaler.transform(X[:count]), scaler.transform(X[count:])
        model, best = LogisticRegression(warm_start=True, max_iter=500), 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for C in np.logspace(-6, 5, 45):
                best = max(best, model.set_params(C=C).fit(train, y[:count]).score(test, y[count:]))
        theirs = time.process_time() - start
        print(
            f"| {count}, {val}, {classes}, {width} | {theirs:.2f} s | {ours:.2f} s | {theirs / ours:.1f} | "
            f"{100 * best:.1f} %, {100 * probe.val_metrics_['top1']:.1f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
