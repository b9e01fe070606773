"""The options of the command line, for the process of each row."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transferkit.cores import count_cores


@dataclass(frozen=True)
class Options:
    """How the rows are measured.

    Attributes:
        out: Folder of results, generated images and weights.
        data: Images of two classes or more in `train/` and `val/`; None for generated ones.
        weights_dir: Has `resnet18.safetensors` (or .pth) and so on; what it lacks gets random weights, made once.
        real_weights: ImageNet weights of timm's MobileNetV2, for the accuracies.
        real_overrides: What these weights are like, as on transferkit's command line.
        device: Where everything runs.
        threads: Of torch, in each process.
        repeats: Of each measurement that does not last minutes.
        quick: Whether to use so few images that only the harness is tried.
    """

    out: Path
    data: Path | None = None
    weights_dir: Path | None = None
    real_weights: Path | None = None
    real_overrides: list[str] = field(default_factory=list)
    device: str = "cpu"
    threads: int = field(default_factory=count_cores)
    repeats: int = 3
    quick: bool = False

    def of(self, full: int, quick: int) -> int:
        """A number of images, epochs or repeats."""
        return quick if self.quick else full

    def save(self, path: Path) -> None:
        """Write them, for the process of a row."""
        path.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")


def load_options(path: Path) -> Options:
    """Read what `save` wrote."""
    given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("out", "data", "weights_dir", "real_weights"):
        given[key] = None if given[key] is None else Path(given[key])
    return Options(**given)
