"""Files of models of several labels, numbers and ordered classes give what the model gives."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import transferkit as tk
from tests.export.conftest import digits, exporting, random_head
from transferkit.backbones.narrow import narrow_resnet10
from transferkit.errors import TransferkitError
from transferkit.export.agreement import largest_difference
from transferkit.export.exported import Exporting
from transferkit.export.formats import write_formats
from transferkit.export.hub_folder import write_hub_folder
from transferkit.export.onnx_file import import_onnx, onnx_predict
from transferkit.export.predict_alone import answer
from transferkit.models.transfer_model import TransferModel, load_model, save_model
from transferkit.targets.multilabel_target import MultilabelTarget
from transferkit.targets.ordinal_target import OrdinalTarget
from transferkit.targets.regression_target import RegressionTarget
from transferkit.targets.target import Target

TARGETS: dict[str, Target] = {
    "multilabel": MultilabelTarget(("even", "large", "round")),
    "regression": RegressionTarget(("ink", "area"), (20.0, -3000.0), (5.0, 700.0)),
    "ordinal": OrdinalTarget(("low", "middle", "high", "highest")),
}


@pytest.fixture(params=TARGETS)
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Exporting:
    target = TARGETS[request.param]
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage5")
    save_model(tmp_path / "run", TransferModel(backbone, random_head(192, target.width), target))
    return exporting(load_model(tmp_path / "run"), tmp_path, 6)


def test_predictions_by_onnxruntime_alone(ours: Exporting) -> None:
    (written,) = write_formats(ours, ["onnx"])
    assert written.difference < 1e-4
    model = ours.network.model
    images = [digits().image(100 + i) for i in range(5)]
    outputs = onnx_predict(written.path)(torch.stack([model.preprocess(image) for image in images]))
    session = import_onnx()[1].InferenceSession(str(written.path))
    assert session.get_outputs()[0].name == ("values" if model.target.kind == "regression" else "probabilities")
    about = session.get_modelmeta().custom_metadata_map
    names, kind = json.loads(about["class_names"]), json.loads(about["target"])
    for found, expected in zip(outputs, model.predict(images), strict=True):
        said = answer(found, names, kind)
        if kind == "multilabel":
            assert said == (";".join(expected.labels) or "(none)")
            np.testing.assert_allclose(found, expected.probabilities, atol=1e-4)
        elif kind == "regression":
            parts = dict(part.split("=") for part in said.split("\t"))
            assert {name: float(value) for name, value in parts.items()} == pytest.approx(expected.values, rel=1e-4)
        else:
            label, confidence = said.split("\t")
            assert label == expected.label
            assert float(confidence) == pytest.approx(expected.confidence, abs=1e-4)


def test_plain_weights_give_the_logits(ours: Exporting) -> None:
    (written,) = write_formats(ours, ["state_dict"])
    model = ours.network.model
    network = narrow_resnet10(num_classes=model.target.width).eval()
    network.load_state_dict(load_file(written.path))
    with torch.inference_mode():
        outputs = model.target.outputs(network(ours.compared.inputs)).numpy()
    np.testing.assert_allclose(outputs, ours.compared.expected, rtol=1e-4, atol=1e-5)


def test_a_hub_folder_is_for_classes(ours: Exporting) -> None:
    with pytest.raises(TransferkitError, match=r"export\.format=hub is for models of classes, and this one predicts"):
        write_hub_folder(ours)


@pytest.mark.slow
def test_other_runtimes(ours: Exporting) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")
    assert all(written.difference < 1e-4 for written in write_formats(ours, ["torch_export", "openvino"]))


def test_values_are_compared_in_standard_deviations(tmp_path: Path) -> None:
    target = TARGETS["regression"]
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    compared = exporting(TransferModel(backbone, random_head(192, 2), target).eval(), tmp_path, 3).compared
    rounded = compared.expected + np.array([5e-4 * 5.0, 0.0], np.float32)
    places = {1: slice(0, 1), 2: slice(1, 3)}  # called with the first image, then with the others
    found = largest_difference(compared, lambda inputs: rounded[places[len(inputs)]], "file")
    assert found == pytest.approx(5e-4, rel=1e-2)
    with pytest.raises(TransferkitError, match=r"a value, in standard deviations differs by more than 0\.001"):
        largest_difference(compared, lambda inputs: (rounded + 0.1)[places[len(inputs)]], "file")
