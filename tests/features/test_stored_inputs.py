"""Rows that are computed once: they are what the network computes, wherever they are kept and whoever reads them."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import transferkit as tk
from tests.features.damage import flip_a_bit, some_files
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import State, feature
from transferkit.data.batch_loading import Batch, Batches, Source
from transferkit.features.activations import store_rows
from transferkit.features.stage_outputs import CutRows
from transferkit.features.store import FeatureCache
from transferkit.features.stored_inputs import pack, unpack

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), np.uint8))
LABELS = np.arange(10) % 3
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate("stage5")


class Reading:
    """Gives the images, and notes which."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def source(self) -> Source:
        return Source([f"image {i}" for i in range(10)], str, 10, self.load)

    def load(self, batches: Batches, decode: int) -> Iterator[Batch]:
        for some in batches:
            self.read += some
            yield Batch(some, [f"image {i}" for i in some], IMAGES[some], [], len(some))


def state(backbone: Backbone, stage: str) -> Tensor:
    """The same computed by plain torch."""
    with torch.no_grad():
        return feature(backbone.eval().forward_stages(backbone.preprocess.normalize(IMAGES), [stage])[stage])


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("cached", [True, False])
def test_they_are_what_the_network_computes(backbone: Backbone, tmp_path: Path, in_memory: bool, cached: bool) -> None:
    cut = CutRows(backbone, "stage3", CPU, "fp32")
    cache = FeatureCache(tmp_path) if cached else None
    entry = cache.entry(cut.description(), "activations") if cache else None
    given: Any = {"entry": entry, "in_memory": in_memory, "batch_size": 4}
    stored = store_rows(Reading().source(), LABELS, cut.compute, cut.precision, **given)
    for inputs in (stored, pickle.loads(pickle.dumps(stored))):
        rows, labels = inputs.batch([7, 2, 2])
        torch.testing.assert_close(rows, state(backbone, "stage3")[[7, 2, 2]], rtol=1e-4, atol=1e-5)
        assert rows.is_contiguous(memory_format=torch.channels_last)
        assert labels.tolist() == [1, 2, 2]


def test_the_top_is_pooled(backbone: Backbone) -> None:
    cut = CutRows(backbone, "stage5", CPU, "bf16")
    rows = store_rows(Reading().source(), LABELS, cut.compute, cut.precision).batch(range(10))[0]
    assert rows.dtype == torch.float32
    expected = state(backbone, "stage5").mean(dim=(2, 3))
    assert float((rows - expected).norm() / expected.norm()) < 0.02


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3, 4)])
def test_rows_keep_every_bit(precision: str, shape: tuple[int, ...]) -> None:
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(types[precision])
    again = unpack(np.array(pack(values, precision)), precision)
    assert again.dtype == values.dtype
    assert torch.equal(again, values)


def test_a_killed_computation_goes_on_and_damage_is_noticed(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, cache = CutRows(backbone, "stage3", CPU, "bf16"), FeatureCache(tmp_path)
    entry = cache.entry(cut.description(), "activations")

    def run(compute: Any, reading: Reading) -> Tensor:
        stored = store_rows(reading.source(), LABELS, compute, cut.precision, entry=entry, batch_size=4)
        return stored.batch(range(10))[0]

    def killed(inputs: Tensor) -> Any:
        if len(reading.read) > 8:
            raise KeyboardInterrupt
        return cut.compute(inputs)

    monkeypatch.setattr("transferkit.features.waiting_rows.KEEP_BYTES", 1)
    reading = Reading()
    with pytest.raises(KeyboardInterrupt):
        run(killed, reading)
    done, reading = set(reading.read[:8]), Reading()
    whole = run(cut.compute, reading)
    assert set(reading.read) == set(range(10)) - done
    torch.testing.assert_close(whole.float(), state(backbone, "stage3"), rtol=0.05, atol=0.05)

    flip_a_bit(some_files(entry.folder, "*.rows")[0], -5)
    reading = Reading()
    assert torch.equal(run(cut.compute, reading), whole)
    assert 0 < len(reading.read) <= 4
    reading = Reading()
    run(cut.compute, reading)
    assert not reading.read


def test_views_are_taken_in_turn_and_equal_images_computed_once() -> None:
    ids, asked = ["a/0", "b/0", "a/0", "a/1", "b/1", "a/1"], list[int]()

    def load(batches: Batches, decode: int) -> Iterator[Batch]:
        for some in batches:
            asked.extend(some)
            inputs = torch.tensor([[10.0 * (i // 3) + i % 3] for i in some])
            yield Batch(some, [ids[i] for i in some], inputs, [], len(some))

    stored = store_rows(Source(ids, str, 6, load), np.arange(3), lambda x: x.numpy()[:, 0], None, views=2)
    assert asked == [0, 1, 3, 4]
    assert stored.views == 2
    assert stored.batch([0, 1, 2], [0, 1, 1])[0].tolist() == [0.0, 11.0, 10.0]


def test_several_tensors_across_a_cut_are_not_rows(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = CutRows(backbone, "stage2", CPU, "fp32")
    measured = cut.measure()
    assert measured is not None
    height, width = state(backbone, "stage2").shape[2:]
    assert measured[0] == backbone.infos["stage2"].channels * height * width * 4

    def two(self: Any, x: Tensor, names: Sequence[str]) -> dict[str, State]:
        return {names[-1]: (x, x)}

    monkeypatch.setattr(Backbone, "states", two)
    assert cut.measure() is None


def test_all_that_determines_a_row_is_in_its_key(backbone: Backbone) -> None:
    def described(stage: str = "stage3", precision: str = "fp32", **more: Any) -> Any:
        return CutRows(backbone, stage, CPU, precision).description(**more)

    plain = described()
    for other in (described("stage2"), described(precision="bf16"), described(augment={"a": 1}), described(seed=1)):
        assert other != plain
    assert described() == plain
