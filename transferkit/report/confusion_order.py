"""The confusion matrix of many classes: similar ones beside each other, and its cells for the page's script."""

import json
from dataclasses import replace

import numpy as np

from transferkit.report.classes import Confusion

OPTIMAL_TO = 300
"""Up to this many classes the leaves of the tree are ordered optimally, which takes the cube of their number."""
CELLS_KEPT = 20_000
"""Cells with the most images that the script can name, about 300 kB."""


def by_similarity(confusion: Confusion) -> Confusion:
    """Return the matrix with classes that are confused beside each other.

    The order is that of the leaves of average linkage, with the mean share of each other's images that are confused as
    similarity (scipy; optimal order: Bar-Joseph et al. 2001, Fast optimal leaf ordering).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = 1 - (confusion.shares + confusion.shares.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=len(distance) <= OPTIMAL_TO)
    order = leaves_list(tree)
    return replace(
        confusion,
        names=[confusion.names[i] for i in order],
        counts=confusion.counts[np.ix_(order, order)],
        shares=confusion.shares[np.ix_(order, order)],
    )


def cell_data(confusion: Confusion) -> str:
    """Return names and cells [row, column, images] as JSON, the cells with the most images where there are too many."""
    rows, columns = np.nonzero(confusion.counts)
    counts = confusion.counts[rows, columns]
    kept = np.sort(np.argsort(-counts, kind="stable")[:CELLS_KEPT])
    cells = np.stack([rows, columns, counts], axis=1)[kept]
    return json.dumps({"names": list(confusion.names), "cells": cells.tolist()}, separators=(",", ":"))
