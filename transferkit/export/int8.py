"""Dynamic quantisation of an ONNX file to 8 bits, by onnxruntime."""

import logging
from importlib import import_module
from pathlib import Path

from transferkit.errors import TransferkitError
from transferkit.export.exported import first_line
from transferkit.files import new_file

FILE = "model_int8.onnx"


def write_int8(path: Path) -> Path:
    """Write `model_int8.onnx` beside an ONNX file; its activations are quantised as they are computed.

    Args:
        path: The float32 file.

    Raises:
        TransferkitError: onnxruntime cannot quantise it.
    """
    quantization = import_module("onnxruntime.quantization")
    model = import_module("onnx").load(path)
    del model.graph.value_info[:]  # shapes that older exporters note wrongly; onnxruntime infers them anew
    written = path.with_name(FILE)
    logging.disable(logging.WARNING)  # advice to simplify the graph first, which dynamo's exporter has done
    try:
        with new_file(written) as temporary:
            # Unsigned: onnxruntime's convolutions take no signed weights on every processor.
            quantization.quantize_dynamic(model, temporary, weight_type=quantization.QuantType.QUInt8)
    except Exception as error:
        raise TransferkitError(f"{path} cannot be quantised ({first_line(error)}): leave out export.int8.") from error
    finally:
        logging.disable(logging.NOTSET)
    return written
