"""The index of task=embed: features in a file that faiss searches."""

from pathlib import Path
from typing import Any

import numpy as np

from transferkit.arrays import Features
from transferkit.extras import import_extra
from transferkit.files import new_file


def import_faiss() -> Any:
    """Return the module.

    Raises:
        TransferkitError: It is not installed.
    """
    (faiss,) = import_extra("embed.index=faiss needs faiss-cpu", "faiss", "faiss", otherwise=", or embed.index=null")
    return faiss


def write_index(path: Path, features: Features) -> Path:
    """Write an exact index of inner products of rows of unit length, so that a score is the cosine similarity.

    Args:
        path: The file; `faiss.read_index` reads it.
        features: (N, D); the number of a row is its number in the index.
    """
    faiss = import_faiss()
    rows = np.array(features, dtype=np.float32)
    faiss.normalize_L2(rows)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    with new_file(path) as temporary:
        faiss.write_index(index, str(temporary))
    return path
