"""ONNX through torch's dynamo exporter, checked with onnxruntime."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transferkit.errors import TransferkitError
from transferkit.export.agreement import Predict, largest_difference
from transferkit.export.deployed_network import INPUT, output_name
from transferkit.export.description import as_text
from transferkit.export.exported import Exported, Exporting, first_line
from transferkit.extras import import_extra
from transferkit.files import new_file
from transferkit.targets.target import Outputs

FILE, SCRIPT = "model.onnx", "predict.py"
ONE_FILE = 1_900_000_000
"""Bytes of weights up to which everything is in one file: protobuf has a limit of 2 GiB."""


def write_onnx(exporting: Exporting) -> Exported:
    """Write `model.onnx` and `predict.py`, which predicts with it without torch.

    Raises:
        TransferkitError: A package is missing, an operation has no ONNX counterpart, or onnxruntime predicts otherwise.
    """
    import_onnx()
    path = exporting.folder / FILE
    _save(_translated(exporting), exporting, path)
    difference = largest_difference(exporting.compared, onnx_predict(path), str(path))
    script = exporting.folder / SCRIPT
    with new_file(script) as temporary:
        shutil.copyfile(Path(__file__).with_name("predict_alone.py"), temporary)
    files = (path, *(file for file in [_data_file(path)] if file.exists()), script)
    return Exported("onnx", path, difference, files, f"python {SCRIPT} photo.jpg ...")


def _translated(exporting: Exporting) -> Any:
    """The program as torch's ONNXProgram."""
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        return torch.onnx.export(
            exporting.program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[output_name(exporting.network.target)],
            dynamic_shapes={INPUT: {0: "batch"}},
            verbose=False,
        )
    except TransferkitError:
        raise
    except Exception as error:
        cause = first_line(error.__cause__ or error)
        raise TransferkitError(
            f"{exporting.network.model.backbone.spec.name} has no ONNX form in this version of onnxscript ({cause}). "
            "export.format=torch_export or state_dict may do."
        ) from error
    finally:
        loud.setLevel(level)


def _save(translated: Any, exporting: Exporting, path: Path) -> None:
    translated.model.metadata_props.update(as_text(exporting.about))
    size = sum(tensor.nbytes for tensor in exporting.program.state_dict.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    if size > ONE_FILE:  # the weights' file is named in the other one, so that neither can be renamed afterwards
        translated.save(path, external_data=True)
        return
    with new_file(path) as temporary:
        translated.save(temporary, external_data=False)


def _data_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def onnx_predict(path: Path) -> Predict:
    """Return the predictions of an ONNX file by onnxruntime, on the CPU."""
    _, onnxruntime = import_onnx()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings are about unused initialisers
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def predict(inputs: Tensor) -> Outputs:
        found: Outputs = session.run(None, {INPUT: inputs.numpy()})[0]
        return found

    return predict


def import_onnx() -> tuple[Any, Any]:
    """Return the modules onnx and onnxruntime.

    Raises:
        TransferkitError: They, or onnxscript, are not installed.
    """
    need = "export.format=onnx needs onnx, onnxscript and onnxruntime"
    _, onnx, onnxruntime = import_extra(need, "onnx", "onnxscript", "onnx", "onnxruntime")
    return onnx, onnxruntime
