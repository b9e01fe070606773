"""OpenVINO's intermediate representation, for Intel's processors."""

from typing import Any

import numpy as np
from torch import Tensor

from transferkit.arrays import Probabilities
from transferkit.errors import TransferkitError
from transferkit.export.agreement import largest_difference
from transferkit.export.deployed_network import INPUT, OUTPUT
from transferkit.export.description import as_text
from transferkit.export.exported import Exported, Exporting, first_line
from transferkit.extras import import_extra

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
        converted = openvino.convert_model(exporting.program)
    except Exception as error:
        raise TransferkitError(
            f"OpenVINO cannot convert {exporting.network.model.backbone.spec.name} ({first_line(error)})."
        ) from error
    converted.inputs[0].get_tensor().set_names({INPUT})
    converted.outputs[0].get_tensor().set_names({OUTPUT})
    for name, text in as_text(exporting.about).items():
        converted.set_rt_info(text, [SECTION, name])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(converted, path, compress_to_fp16=False)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def predict(inputs: Tensor) -> Probabilities:
        found: Probabilities = np.array(compiled({INPUT: inputs.numpy()})[OUTPUT])
        return found

    difference = largest_difference(exporting.compared, predict, str(path))
    files = (path, path.with_suffix(".bin"))
    return Exported("openvino", path, difference, files, f'openvino.Core().compile_model("{FILE}")')


def import_openvino() -> Any:
    """Return the module openvino.

    Raises:
        TransferkitError: It is not installed.
    """
    (openvino,) = import_extra("export.format=openvino needs OpenVINO", "openvino", "openvino")
    return openvino
