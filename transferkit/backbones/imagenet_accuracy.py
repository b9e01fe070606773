"""Published ImageNet accuracy: of torchvision's weights from their metadata, timm's from a table beside this file."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("imagenet_timm.csv")
"""timm's validation results, with their origin in the first lines."""


@dataclass(frozen=True)
class Accuracy:
    """On the validation set of ImageNet-1k, a single crop.

    Attributes:
        weights: Their name.
        size: Side of the input in pixels.
        top1: In percent.
        top5: In percent.
    """

    weights: str
    size: int
    top1: float
    top5: float


def published_accuracy(source: str, name: str, size: int) -> Accuracy | None:
    """The accuracy of a network's default ImageNet weights; None if none is published.

    Args:
        source: "torchvision" or "timm"; others have none.
        name: As its source calls it; in timm a tag may follow.
        size: Preferred side of the input, where there are results for several.
    """
    if source == "torchvision":
        return _of_torchvision(name)
    return _of_timm(name, size) if source == "timm" else None


def _of_torchvision(name: str) -> Accuracy | None:
    import torchvision

    entry = torchvision.models.get_model_weights(name).DEFAULT
    metrics = entry.meta["_metrics"].get("ImageNet-1K")
    if metrics is None:
        return None
    return Accuracy(entry.name, entry.transforms().crop_size[0], metrics["acc@1"], metrics["acc@5"])


def _of_timm(name: str, size: int) -> Accuracy | None:
    rows = timm_table()
    if name not in rows and "." not in name:
        import timm

        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
        name = f"{name}.{config.tag}" if config is not None and config.tag else name
    found = rows.get(name)
    return min(found, key=lambda one: abs(one.size - size)) if found else None


@cache
def timm_table() -> dict[str, list[Accuracy]]:
    """Name with tag to the results, one for each size of the input."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        rows: dict[str, list[Accuracy]] = {}
        for row in csv.DictReader(lines):
            result = Accuracy(
                row["model"].partition(".")[2], int(row["input_size"]), float(row["top1"]), float(row["top5"])
            )
            rows.setdefault(row["model"], []).append(result)
        return rows
