"""The result of a run, from which the files of the run directory and the report are written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.imageset import ImageSet
from transferkit.targets.target import Target
from transferkit.targets.target_kinds import as_target


@dataclass(frozen=True)
class Neighbor:
    """The image at `index` of `images`, at a `distance` in feature space."""

    images: ImageSet
    index: int
    distance: float


@dataclass(frozen=True)
class Neighborhood:
    """The test image at `index`, and its nearest images of train and val, nearest first."""

    index: int
    neighbors: Sequence[Neighbor]


@dataclass(frozen=True)
class Places:
    """Test images in a plane: the image at `indices[i]` (M,) at `xy[i]` (M, 2), by a `method`."""

    indices: npt.NDArray[np.int64]
    xy: npt.NDArray[np.float32]
    method: str


@dataclass(frozen=True)
class RunResult:
    """One fitted model, evaluated.

    Attributes:
        settings: The resolved configuration.
        command: The command line that reproduces this result.
        metrics: The content of `metrics.json`.
        class_names: K names.
        test: The N images of the test split.
        probabilities: (N, K), of the test images.
        split_note: The origin of the splits, in one line.
        class_counts: Split name to images per class (K,).
        sweep: Per probed stage, one row per value of C: `{"C", "val_top1", "val_nll"}`.
        history: One row per epoch of training: `phase`, `epoch` (from 1 in each phase), `lr`, `train_loss`, `val_loss`,
            `val_top1`.
        arguments: Those of the command that name data and network, for the commands of next steps.
        run: The run directory of the model, for these commands.
        neighborhoods: Some test images and their nearest training images.
        heat_maps: Index of a test image to a `data:` URI of the image with a heat map over it.
        heat_map_method: That computed them, of `report.heat_maps`.
        places: Some test images in a plane by their features, if there are any in the cache.
        no_heat_maps: Why there are none, where the reader can change that.
        other_target: The target where it is no class; then `probabilities` are its outputs, and `class_names` the names
            of its labels or values.
        sizes: Split name to number of images.
    """

    settings: Mapping[str, Any]
    command: str
    metrics: Mapping[str, Any]
    class_names: Sequence[str]
    test: ImageSet
    probabilities: npt.NDArray[np.float32]
    split_note: str
    class_counts: Mapping[str, npt.NDArray[np.int64]]
    sweep: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    arguments: Sequence[str] = ()
    run: str = "RUN_DIR"
    neighborhoods: Sequence[Neighborhood] = ()
    heat_maps: Mapping[int, str] = field(default_factory=dict)
    heat_map_method: str = ""
    no_heat_maps: str = ""
    places: Places | None = None
    other_target: Target | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        """The target of the model."""
        return self.other_target or as_target(self.class_names)
