"""The probabilities of all classes of many images: names of columns, and the file predictions.parquet."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transferkit.arrays import Probabilities
from transferkit.errors import shown_text
from transferkit.files import new_file

log = logging.getLogger(__name__)

ROWS = 10_000
"""Images of a row group, the part that is in memory."""


def class_columns(class_names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Return a name for the column of each class: its own, with " (class)" after it if another column has that name."""
    columns: list[str] = []
    for name in class_names:
        column = name
        while column in taken or (column != name and column in class_names):
            column += " (class)"
        columns.append(column)
    return columns


def write_probabilities(
    path: Path, names: Sequence[str], labels: Sequence[str], probabilities: Probabilities, class_names: Sequence[str]
) -> bool:
    """Write image, true label, predicted label, confidence, and a column for each class; needs pyarrow.

    Args:
        path: The Parquet file.
        names: Of N images; bytes that are not text are replaced.
        labels: N class names.
        probabilities: (N, K).
        class_names: K names.

    Returns:
        Whether it was written: not where pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        log.debug("No %s: pyarrow is not installed (extra parquet).", path.name)
        return False
    text = ["image", "label", "predicted"]
    first = [*text, "confidence"]
    columns = [*first, *map(shown_text, class_columns(class_names, first))]
    types = [pyarrow.string()] * len(text) + [pyarrow.float32()] * (len(columns) - len(text))
    schema = pyarrow.schema(list(zip(columns, types, strict=True)))
    with new_file(path) as new, pyarrow.parquet.ParquetWriter(new, schema, compression="zstd") as writer:
        for start in range(0, len(names), ROWS):
            part = np.asarray(probabilities[start : start + ROWS], dtype=np.float32)
            best = [shown_text(class_names[i]) for i in part.argmax(axis=1)]
            shown = [[shown_text(str(value)) for value in some[start : start + ROWS]] for some in (names, labels)]
            arrays = [*map(pyarrow.array, [*shown, best]), *map(pyarrow.array, [part.max(axis=1), *part.T])]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
    return True
