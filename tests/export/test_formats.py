"""Each format of several kinds of models: its runtime, in torch's place, gives what the model gives."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch._decomp import get_decompositions

import transferkit as tk
from tests.export.conftest import digits, exporting, random_head, saved
from transferkit import choices
from transferkit.backbones.narrow import narrow_resnet10
from transferkit.errors import TransferkitError
from transferkit.export import onnx_file
from transferkit.export.agreement import Compared, largest_difference, photographs
from transferkit.export.deployed_network import DeployedNetwork
from transferkit.export.exported import Exporting
from transferkit.export.formats import FORMATS, check_packages, write_formats
from transferkit.export.plain_weights import write_plain_weights
from transferkit.models.transfer_model import TransferModel
from transferkit.probes.neighbors import NeighborHead

VIT = {"img_size": 32, "patch_size": 8, "depth": 4, "embed_dim": 48, "num_heads": 2}


def probabilities(network: Any, inputs: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = network(inputs).softmax(dim=1).numpy()
    return found


def fresh_inputs(exporting: Exporting, count: int) -> torch.Tensor:
    """Images of another number than the example and the check had."""
    preprocess = exporting.network.model.preprocess
    return torch.stack([preprocess(digits().image(100 + i)) for i in range(count)])


def fresh_logits(model: TransferModel) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return logits


@pytest.fixture(scope="module")
def neighbors(tmp_path_factory: pytest.TempPathFactory) -> Exporting:
    """Nearest neighbours on the features of two stages of a truncated network."""
    folder = tmp_path_factory.mktemp("neighbors")
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage4")
    images = tk.load_data({"kind": "digits", "name": "digits"}, seed=0).train.subset(range(60))
    features = tk.extract_features(backbone, images, ["stage3", "stage4"], cache=None)
    rows = torch.from_numpy(np.concatenate([features["stage3"], features["stage4"]], axis=1))
    head = NeighborHead(rows, torch.from_numpy(images.labels), 10, k=5, metric="cosine", temperature=0.5)
    return exporting(saved(folder / "run", backbone, head, ["stage3", "stage4"]), folder)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Exporting:
    """A small transformer whose adapters of LoRA were merged into its weights."""
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    backbone = tk.create_backbone("vit_tiny_patch16_224", None, "timm", kwargs=VIT)
    module = tk.FinetuneModule(backbone, 3, tk.load_strategy("lora"))
    for name, parameter in module.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted = fresh_logits(module.model)
    module.merge()
    torch.testing.assert_close(fresh_logits(module.model), adapted, atol=1e-4, rtol=1e-4)
    model = saved(folder / "run", module.model.backbone, module.model.head)
    return exporting(model, folder)


def test_the_configuration_knows_the_formats() -> None:
    assert set(FORMATS) == set(get_args(choices.ExportFormat))


@pytest.mark.slow
def test_neighbours_on_two_stages_in_every_runtime(neighbors: Exporting) -> None:
    onnx, program = write_formats(neighbors, ["onnx", "torch_export"])
    assert max(onnx.difference, program.difference) < 1e-4
    inputs = fresh_inputs(neighbors, 5)
    expected = probabilities(neighbors.network.model, inputs)
    np.testing.assert_allclose(onnx_file.onnx_predict(onnx.path)(inputs), expected, atol=1e-4)
    extra = {"about.json": ""}
    loaded = torch.export.load(program.path, extra_files=extra).module()
    np.testing.assert_allclose(loaded(inputs).detach().numpy(), expected, atol=1e-4)
    assert json.loads(extra["about.json"])["class_names"] == neighbors.network.model.class_names


@pytest.mark.slow
def test_openvino(neighbors: Exporting) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")
    (written,) = write_formats(neighbors, ["openvino"])
    read = openvino.Core().read_model(written.path)
    names = json.loads(read.get_rt_info(["transferkit", "class_names"]).astype(str))
    assert names == neighbors.network.model.class_names
    inputs = fresh_inputs(neighbors, 5)
    found = openvino.Core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"images": inputs.numpy()})
    expected = probabilities(neighbors.network.model, inputs)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-4)
    # OpenVINO has not left its own gradient of a convolution behind, for which torch.compile refuses to start in CI.
    assert not get_decompositions([torch.ops.aten.convolution_backward])


@pytest.mark.slow
def test_a_transformer_after_lora(vit: Exporting) -> None:
    onnx, weights = write_formats(vit, ["onnx", "state_dict"])
    inputs = fresh_inputs(vit, 5)
    expected = probabilities(vit.network.model, inputs)
    np.testing.assert_allclose(onnx_file.onnx_predict(onnx.path)(inputs), expected, atol=1e-5)
    original = timm.create_model("vit_tiny_patch16_224", num_classes=3, **VIT).eval()
    original.load_state_dict(load_file(weights.path))
    np.testing.assert_allclose(probabilities(original, inputs), expected, atol=1e-6)


def test_a_folder_that_timm_loads(vit: Exporting) -> None:
    (hub,) = write_formats(vit, ["hub"])
    loaded = timm.create_model(f"local-dir:{hub.path}", pretrained=True).eval()
    inputs = fresh_inputs(vit, 5)
    np.testing.assert_allclose(probabilities(loaded, inputs), probabilities(vit.network.model, inputs), atol=1e-6)
    assert list(loaded.pretrained_cfg["label_names"]) == vit.network.model.class_names
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(loaded))
    image = photographs(1)[0]
    torch.testing.assert_close(transform(image), vit.network.model.preprocess(image), atol=1e-5, rtol=0)
    assert {path.name for path in hub.path.iterdir()} == {"config.json", "model.safetensors", "README.md"}


def test_plain_weights_load_into_the_original_network(tmp_path: Path) -> None:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage5")
    ours = exporting(saved(tmp_path / "run", backbone, random_head(192)), tmp_path)
    inputs = fresh_inputs(ours, 4)
    network = narrow_resnet10(num_classes=3).eval()
    network.load_state_dict(load_file(write_plain_weights(ours).path))
    expected = probabilities(ours.network.model, inputs)
    np.testing.assert_allclose(probabilities(network, inputs), expected, atol=1e-6)


def test_plain_weights_of_a_network_of_torchvision(tmp_path: Path) -> None:
    backbone = tk.create_backbone("shufflenet_v2_x0_5", None, "torchvision", input_size=64)
    backbone = backbone.truncate(backbone.top)
    ours = exporting(saved(tmp_path / "run", backbone, random_head(1024)), tmp_path, 4)
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=3).eval()
    network.load_state_dict(load_file(write_plain_weights(ours).path))
    inputs = fresh_inputs(ours, 4)
    np.testing.assert_allclose(probabilities(network, inputs), probabilities(ours.network.model, inputs), atol=1e-6)


def test_models_with_an_unusual_head_have_no_plain_weights(neighbors: Exporting, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="the head is NeighborHead, not a linear layer"):
        write_plain_weights(neighbors)
    with pytest.raises(TransferkitError, match="narrow_resnet10 is one of embedded"):
        FORMATS["hub"](neighbors)
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage4")
    cut = exporting(saved(tmp_path / "cut", backbone, random_head(96)), tmp_path, 2)
    with pytest.raises(TransferkitError, match="takes stage4, after which the network has more"):
        write_plain_weights(cut)
    two = exporting(saved(tmp_path / "two", backbone, random_head(144), ["stage3", "stage4"]), tmp_path, 2)
    with pytest.raises(TransferkitError, match="features of stage3, stage4"):
        write_plain_weights(two)
    assert not list(tmp_path.glob("*.safetensors"))


class Strange(torch.nn.Module):
    """A head of no known kind."""

    in_features, out_features = 192, 3


def test_a_head_of_an_unknown_kind_is_refused() -> None:
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage5")
    model = TransferModel(backbone, Strange(), ["a", "b", "c"])  # type: ignore[arg-type]
    with pytest.raises(TransferkitError, match="kind Strange cannot be exported"):
        DeployedNetwork(model)


def test_a_file_that_predicts_something_else_is_an_error() -> None:
    rng = np.random.default_rng(0)
    expected = rng.dirichlet(np.ones(3), 40).astype(np.float32)
    compared = Compared(torch.arange(40.0)[:, None], expected, "of a test")

    def predict(inputs: torch.Tensor) -> np.ndarray:
        found: np.ndarray = expected[inputs[:, 0].int().numpy()] + changes[inputs[:, 0].int().numpy(), None]
        return found

    changes = np.zeros(40, np.float32)
    changes[0] = 0.25  # a neighbour that changed places
    assert largest_difference(compared, predict, "file") == pytest.approx(0.25, abs=1e-6)
    changes[:3] = 0.25
    with pytest.raises(TransferkitError, match=r"for 8 % of 40 images \(of a test\) a probability differs by more"):
        largest_difference(compared, predict, "file")
    changes[:] = np.nan
    with pytest.raises(TransferkitError, match="100 % of 40"):
        largest_difference(compared, predict, "file")


@pytest.mark.slow
def test_weights_beyond_the_limit_of_a_file_stand_beside_it(
    neighbors: Exporting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "ONE_FILE", 0)
    aside = Exporting(neighbors.network, neighbors.about, neighbors.compared, tmp_path, tmp_path)
    aside.__dict__["program"] = neighbors.program  # traced already
    (written,) = write_formats(aside, ["onnx"])
    assert [file.name for file in written.files] == ["model.onnx", "model.onnx.data", "predict.py"]
    assert written.files[0].stat().st_size < written.files[1].stat().st_size
    assert written.difference < 1e-4


def test_what_is_missing_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages(["state_dict", "hub", "torch_export"])
    for name, extra in (("onnx", "onnx"), ("openvino", "openvino")):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(TransferkitError, match=rf"transferkit\[{extra}\]"):
            check_packages([name])
