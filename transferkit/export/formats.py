"""The formats of task=export by their name, and writing several of them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transferkit.export.exported import Exported, Exporting
from transferkit.export.hub_folder import write_hub_folder
from transferkit.export.onnx_file import import_onnx, write_onnx
from transferkit.export.openvino_file import import_openvino, write_openvino
from transferkit.export.plain_weights import write_plain_weights
from transferkit.export.torch_program import write_torch_program

log = logging.getLogger(__name__)

FORMATS: Mapping[str, Callable[[Exporting], Exported]] = {
    "onnx": write_onnx,
    "torch_export": write_torch_program,
    "state_dict": write_plain_weights,
    "openvino": write_openvino,
    "hub": write_hub_folder,
}

NEEDED: Mapping[str, Callable[[], Any]] = {"onnx": import_onnx, "openvino": import_openvino}
"""Formats that need further packages, and what imports these."""


def check_packages(formats: Sequence[str]) -> None:
    """Import what the formats need, before any work.

    Raises:
        TransferkitError: A package is missing; the message names the extra.
    """
    for name in formats:
        NEEDED.get(name, lambda: None)()


def write_formats(exporting: Exporting, formats: Sequence[str]) -> list[Exported]:
    """Write the model in each format and compare its predictions with the model's.

    Raises:
        TransferkitError: A format cannot hold this model. Files of the formats before it are complete.
    """
    written = []
    for name in formats:
        log.info("Writing %s ...", name)
        written.append(FORMATS[name](exporting))
    return written
