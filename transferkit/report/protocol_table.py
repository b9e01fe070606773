"""The figures of test protocols: rows for metrics.json, a CSV file, and a table for the screen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.arrays import Labels
from transferkit.files import write_csv
from transferkit.models.protocols import ProtocolResult
from transferkit.report.score_columns import heading_text, score_text
from transferkit.targets.target import Target

COST = ("views", "seconds")
"""The entries of a row that are no metrics."""

Row = Mapping[str, Any]


def protocol_rows(tested: Mapping[str, ProtocolResult], labels: Labels, target: Target) -> dict[str, dict[str, Any]]:
    """Return, by protocol, the metrics of its probabilities, inputs of the network per image, and seconds.

    Args:
        tested: Results of N images.
        labels: (N,), or (N, T).
        target: Says which metrics.
    """
    return {
        name: {**target.metrics(one.probabilities, labels), "views": one.views, "seconds": round(one.seconds, 3)}
        for name, one in tested.items()
    }


def metrics_of(row: Row) -> dict[str, Any]:
    """Return the metrics of a row."""
    return {key: value for key, value in row.items() if key not in COST}


def write_protocols(run_dir: Path, rows: Mapping[str, Row]) -> None:
    """Write `protocols.csv`, a row for each protocol."""
    header = [key for key, value in next(iter(rows.values())).items() if not isinstance(value, Mapping)]
    body = ([name, *(row[key] for key in header)] for name, row in rows.items())
    write_csv(run_dir / "protocols.csv", ["protocol", *header], body)


def protocol_table(rows: Mapping[str, Row], kind: str) -> str:
    """Return a line for each protocol under a heading; `kind` is that of the target."""
    lines = [f"  {'protocol':16}  {heading_text(kind)}  {'views':>5}  {'seconds':>8}"]
    for name, row in rows.items():
        lines.append(f"  {name:16}  {score_text(row, kind)}  {row['views']:5}  {row['seconds']:8.1f}")
    return "\n".join(lines)
