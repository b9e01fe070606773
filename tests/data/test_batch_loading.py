import os
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from transferkit.data import batch_loading as loading
from transferkit.data.batch_loading import count_workers, identify, open_source
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

SMALL = Preprocessing(input_size=(32, 32), resize_size=(32, 32))


def test_batches_come_in_the_order_asked_for():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 40, 40, 3), dtype=np.uint8)
    images = ImageSet.from_arrays(pixels, np.zeros(10))
    source = open_source(images, SMALL, batch_size=2, num_workers=0, hashed=True)
    batches = list(source.load([[7, 3], [5]], 3))
    assert [batch.positions for batch in batches] == [[7, 3], [5]]
    assert [identity for batch in batches for identity in batch.ids] == [images.ids()[i] for i in (7, 3, 5)]
    assert torch.equal(batches[1].inputs[0], SMALL(images.image(5)))
    assert (source.size, source.names(7)) == (10, "7")


def test_the_identity_is_that_of_the_bytes_that_were_decoded(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    for path, array in zip((tmp_path / "a.png", tmp_path / "b.png"), pixels, strict=True):
        Image.fromarray(array).save(path)
    images = ImageSet.from_files([tmp_path / "a.png"], [0])
    source = open_source(images, SMALL, batch_size=2, num_workers=0, hashed=True)
    (tmp_path / "b.png").rename(tmp_path / "a.png")
    (batch,) = source.load([[0]], 1)
    assert batch.ids == ImageSet.from_files([tmp_path / "a.png"], [0]).ids() != source.ids
    assert torch.equal(batch.inputs[0], SMALL(Image.fromarray(pixels[1])))


def test_identity_is_the_content():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    image, x = Image.fromarray(pixels), torch.rand(3, 4, 5)
    assert identify(image) == identify(image.copy())
    assert identify(x) == identify(x.clone())
    others: list[Image.Image | torch.Tensor] = [
        image.convert("L"),
        Image.fromarray(pixels.reshape(6, 5, 3)),
        Image.fromarray(255 - pixels),
    ]
    others += [x.reshape(3, 5, 4), x.double(), x + 1]
    assert len({identify(other) for other in [image, x, *others]}) == 8


def test_workers_are_for_many_images(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert [count_workers("auto", n) for n in (0, 63, 64, 300, 100_000)] == [0, 0, 1, 4, 8]
    assert count_workers(3, 0) == 3


class Deadly(Dataset[Any]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        os._exit(1)


def test_a_worker_that_dies():
    source = open_source(Deadly(), SMALL, batch_size=1, num_workers=1, hashed=False)
    with pytest.raises(TransferkitError, match=r"/dev/shm.*trainer\.num_workers=0"):
        list(source.load([], 0))


@pytest.mark.parametrize(("in_files", "expected"), [(True, 1), (False, 0)])
def test_arrays_are_read_without_workers(tmp_path, monkeypatch, in_files, expected):
    pixels = np.arange(64 * 16, dtype=np.uint16).reshape(64, 4, 4).astype(np.uint8)
    images = ImageSet.from_arrays(pixels, np.zeros(64))
    if in_files:
        for i in range(64):
            images.image(i).save(tmp_path / f"{i}.png")
        images = ImageSet.from_files(sorted(tmp_path.iterdir()), np.zeros(64))
    asked: list[int] = []

    class Spy(DataLoader[Any]):
        def __init__(self, *args: Any, **options: Any) -> None:
            asked.append(options["num_workers"])
            super().__init__(*args, **options)

    monkeypatch.setattr(loading, "DataLoader", Spy)
    source = open_source(images, SMALL, batch_size=32, num_workers="auto", hashed=False, progress=False)
    assert sum(len(batch.ids) for batch in source.load([list(range(64))], 64)) == 64
    assert asked == [expected]
