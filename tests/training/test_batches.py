from typing import Any

import numpy as np
import torch

from transferkit.augment import create_augment
from transferkit.data.imageset import ImageSet
from transferkit.preprocess import Preprocessing
from transferkit.training.batches import TrainingImages, seed_step, training_loader

PREPROCESS = Preprocessing().override(input_size=8, crop_pct=1.0)
IMAGES = ImageSet.from_arrays(np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8), np.arange(20))


def batches(seed: int = 0, epoch: int = 0, workers: int = 0, batch_size: int = 5) -> tuple[Any, Any]:
    augment = create_augment({"rotation": {"degrees": 30}}, PREPROCESS)
    loader = training_loader(TrainingImages(IMAGES, PREPROCESS, augment, seed, epoch), batch_size, workers)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_seed_and_epoch_alone_decide_order_and_augmentation() -> None:
    images, labels = batches()
    torch.manual_seed(99)
    for workers in (0, 2):
        again, same = batches(workers=workers)
        assert torch.equal(images, again)
        assert torch.equal(labels, same)
    for other in ({"seed": 1}, {"epoch": 1}):
        changed, order = batches(**other)
        assert not torch.equal(labels, order)
        assert (images[labels.argsort()] != changed[order.argsort()]).flatten(1).any(dim=1).sum() > 15


def test_every_image_comes_once_an_epoch() -> None:
    assert batches()[1].sort().values.tolist() == list(range(20))


def test_loading_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batches()
    assert torch.equal(torch.rand(3), expected)


def test_a_last_batch_is_left_out_unless_it_is_the_only_one() -> None:
    assert len(batches(batch_size=6)[1]) == 18
    assert len(batches(batch_size=64)[1]) == 20


def test_a_step_has_random_numbers_of_its_own() -> None:
    draws = []
    for seed, step in ((0, 1), (0, 1), (0, 2), (1, 1)):
        seed_step(seed, step)
        draws.append(float(torch.rand(1)))
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3
