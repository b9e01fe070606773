import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.backbones.pooling import pool_features
from transferkit.backbones.stage_sequence import feature
from transferkit.data.imageset import ImageSet
from transferkit.features.extract import ExtractionStats, extract_features
from transferkit.features.inference_network import COMPILE_FROM, InferenceNetwork, worth_compiling
from transferkit.probes.linear import LinearProbe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return create_backbone("resnet18", weights=None, source="torchvision", input_size=64).eval()


def inputs(n: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def original(backbone: Backbone, images: torch.Tensor) -> dict[str, np.ndarray]:
    states = backbone.forward_stages(backbone.preprocess.normalize(images), backbone.feature_stages)
    return {name: pool_features(feature(state)).numpy() for name, state in states.items()}


def error(got: np.ndarray, expected: np.ndarray) -> float:
    """Mean difference as a part of the mean size."""
    return float(np.abs(got - expected).mean() / np.abs(expected).mean())


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-5), ("bf16", 0.02)])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_computes_what_the_network_computes(backbone, precision, most, compiled) -> None:
    network = InferenceNetwork(backbone, "avg", CPU, precision)
    network.decide(compiled, 4, (3, 64, 64))
    assert network.compile == compiled
    got, expected = network(inputs(), backbone.feature_stages), original(backbone, inputs())
    assert network.compile == compiled  # it has not given up
    for name in backbone.feature_stages:
        assert got[name].dtype == np.float32
        assert error(got[name], expected[name]) < most


def test_batches_of_another_size_run_uncompiled(backbone, monkeypatch) -> None:
    network = InferenceNetwork(backbone, "avg", CPU)
    network.compile, shapes = True, []

    def compiled_for(stages):
        def run(x):
            shapes.append(len(x))
            return network._run(x, stages)

        return run

    monkeypatch.setattr(network, "_compiled_for", compiled_for)
    for n in (4, 4, 3):
        network(inputs(n), ["stage2"])
    assert shapes == [4, 4]


def test_without_a_compiler_it_goes_on(backbone, monkeypatch, caplog) -> None:
    network = InferenceNetwork(backbone, "avg", CPU)
    network.compile = True

    def no_compiler(stages):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

    monkeypatch.setattr(network, "_compiled_for", no_compiler)
    got = network(inputs(), ["stage5"])["stage5"]
    assert error(got, original(backbone, inputs())["stage5"]) < 1e-5
    assert not network.compile
    assert "No working C++ compiler" in caplog.text


def test_operations_are_counted(backbone) -> None:
    # The first convolution of a ResNet: 64 channels of 32 x 32, each from 3 x 7 x 7 products and sums.
    first = InferenceNetwork(backbone.truncate("stage1"), "avg", CPU)
    assert first.operations((3, 64, 64)) == 2 * 64 * 32 * 32 * 3 * 7 * 7


def test_much_work_is_compiled_for_and_little_is_not() -> None:
    assert not worth_compiling(3.6e9, 244, cores=2)  # ants and bees through a ResNet-18: two seconds
    assert worth_compiling(3.6e9, 10_000, cores=2)
    assert worth_compiling(COMPILE_FROM, 1, cores=1)
    assert not worth_compiling(COMPILE_FROM, 1, cores=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet_glyphs", "resnet_fractals"])
def test_in_bf16_nearly_all_predictions_stay(name: str) -> None:
    digits, labels = load_digits(return_X_y=True)
    pixels = (digits.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    images = ImageSet.from_arrays(pixels, labels)
    backbone = create_backbone("narrow_resnet10", weights=name)
    features = {
        precision: extract_features(backbone, images, cache=None, num_workers=0, precision=precision)["stage5"]
        for precision in ("fp32", "bf16")
    }
    probe = LinearProbe(C=0.01).fit(features["fp32"][:1000], labels[:1000])
    same = probe.predict(features["bf16"]) == probe.predict(features["fp32"])
    assert same.mean() >= 0.995
    assert not np.array_equal(features["bf16"], features["fp32"])


def test_each_image_is_forwarded_once_through_each_stage(backbone) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    images = ImageSet.from_arrays(pixels, np.zeros(5))
    stats = ExtractionStats()
    extract_features(backbone, images, ["stage1", "stage3"], cache=None, num_workers=0, stats=stats)
    assert stats.forwarded == {"stage1": 5, "stage2": 5, "stage3": 5}
