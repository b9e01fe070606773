"""A fitted model on its way into files, and the record of a file that was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from transferkit.errors import TransferkitError
from transferkit.export.agreement import Compared
from transferkit.export.deployed_network import INPUT, DeployedNetwork, random_inputs

LARGEST_BATCH = 65536


@dataclass(frozen=True)
class Exporting:
    """A fitted model on its way into files.

    Attributes:
        network: The model.
        about: What the files say about themselves, plain values.
        compared: Images on which each file is compared with the model.
        folder: Gets the files.
        run: The folder of the fitted model, with what its fit recorded beside the artifact.
    """

    network: DeployedNetwork
    about: Mapping[str, Any]
    compared: Compared
    folder: Path
    run: Path

    @cached_property
    def program(self) -> ExportedProgram:
        """The network as a graph of torch's operations, with a dynamic batch size; traced once for all formats.

        Raises:
            TransferkitError: Its code cannot be traced.
        """
        try:
            with torch.no_grad():
                return torch.export.export(
                    self.network,
                    (random_inputs(self.network),),
                    dynamic_shapes={INPUT: {0: Dim("batch", min=1, max=LARGEST_BATCH)}},
                )
        except Exception as error:  # the errors of the tracer have no common class
            name = self.network.model.backbone.spec.name
            raise TransferkitError(
                f"{name} cannot be traced by torch.export ({first_line(error)}). export.format=state_dict writes its "
                "weights all the same."
            ) from error


@dataclass(frozen=True)
class Exported:
    """A file, or a folder, in one format.

    Attributes:
        format: Its name in `export.format`.
        path: Where it is.
        difference: The largest difference of a probability from the model's.
        files: All files that belong to it.
        use: How it is used, in a line.
    """

    format: str
    path: Path
    difference: float
    files: tuple[Path, ...]
    use: str

    @property
    def bytes(self) -> int:
        """The size of all its files."""
        return sum(file.stat().st_size for file in self.files)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
