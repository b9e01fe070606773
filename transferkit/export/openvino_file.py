"""OpenVINO's intermediate representation, for Intel's processors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor
from torch._decomp import decomposition_table

from transferkit.errors import TransferkitError
from transferkit.export.agreement import largest_difference
from transferkit.export.deployed_network import INPUT, output_name
from transferkit.export.description import as_text
from transferkit.export.exported import Exported, Exporting, first_line
from transferkit.extras import import_extra
from transferkit.targets.target import Outputs

FILE = "model.xml"
SECTION = "transferkit"
"""Where the description stands in the runtime information of the file."""


def write_openvino(exporting: Exporting) -> Exported:
    """Write `model.xml` and `model.bin`, in float32.

    Raises:
        TransferkitError: OpenVINO is not installed, lacks an operation, or predicts otherwise.
    """
    openvino = import_openvino()
    path = exporting.folder / FILE
    try:
        with same_decompositions():
            converted = openvino.convert_model(exporting.program)
    except Exception as error:
        raise TransferkitError(
            f"OpenVINO cannot convert {exporting.network.model.backbone.spec.name} ({first_line(error)})."
        ) from error
    converted.inputs[0].get_tensor().set_names({INPUT})
    converted.outputs[0].get_tensor().set_names({output_name(exporting.network.target)})
    for name, text in as_text(exporting.about).items():
        converted.set_rt_info(text, [SECTION, name])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(converted, path, compress_to_fp16=False)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def predict(inputs: Tensor) -> Outputs:
        found: Outputs = np.array(compiled({INPUT: inputs.numpy()})[0])
        return found

    difference = largest_difference(exporting.compared, predict, str(path))
    files = (path, path.with_suffix(".bin"))
    return Exported("openvino", path, difference, files, f'openvino.Core().compile_model("{FILE}")')


@contextmanager
def same_decompositions() -> Iterator[None]:
    """Leave torch's table of decompositions as it was.

    To convert a network, OpenVINO registers its own backward pass of a convolution with torch, for the whole process.
    `torch.compile` would use it from then on, and refuses to start at all where the variable CI is set.
    """
    before = dict(decomposition_table)
    try:
        yield
    finally:
        decomposition_table.clear()
        decomposition_table.update(before)


def import_openvino() -> Any:
    """Return the module openvino.

    Raises:
        TransferkitError: It is not installed.
    """
    (openvino,) = import_extra("export.format=openvino needs OpenVINO", "openvino", "openvino")
    return openvino
