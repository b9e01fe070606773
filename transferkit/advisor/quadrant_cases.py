"""The measured cases that the rules of the quadrant are fitted to: quadrant_cases.csv."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.advisor.evidence import Evidence
from transferkit.advisor.gains import COST_ORDER

FILE = Path(__file__).with_suffix(".csv")
STAGES = ("stage1", "stage2", "stage3", "stage4", "stage5")


@dataclass(frozen=True)
class Case:
    """A measured case.

    Attributes:
        data: The family of data: "digits", "ants and bees".
        source: What the network was pretrained on.
        per_class: Labelled images per class, or "all".
        seed: Of the fits.
        evidence: The measurements on train and val.
        top1: Test accuracy of each strategy; those not run are absent.
        corner: Size and similarity by expert judgement.
    """

    data: str
    source: str
    per_class: str
    seed: int
    evidence: Evidence
    top1: Mapping[str, float]
    corner: tuple[str, str]

    @property
    def name(self) -> str:
        """All that tells it from other cases."""
        seed = f" #{self.seed}" if self.seed else ""
        return f"{self.data}, {self.source}, {self.per_class}{seed}"


def read_cases(path: Path = FILE) -> list[Case]:
    """Read the table of cases; lines that begin with # are comments."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_case(row) for row in csv.DictReader(line for line in file if not line.startswith("#"))]


def _case(row: Mapping[str, str]) -> Case:
    values: dict[str, Any] = {key: int(row[key]) for key in ("images", "classes", "features", "judged")}
    values |= {key: _number(row[key]) for key in ("neighbors", "distance", "early", "late")}
    probes, top1 = ({key: float(row[key]) for key in keys if row[key]} for keys in (STAGES, COST_ORDER))
    evidence = Evidence(probes=probes, **values)
    corner = row["size"], row["similarity"]
    return Case(row["data"], row["source"], row["per_class"], int(row["seed"]), evidence, top1, corner)


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


CASES = read_cases()
