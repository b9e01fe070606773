from typing import Any

import numpy as np
import torch

from transferkit.data.augment import create_augment
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.features.stored_inputs import StoredInputs
from transferkit.training.epochs import StoredEpoch, TrainingImages, seed_step, training_loader

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


def test_fixed_views_come_again_and_follow_from_the_content() -> None:
    augment = create_augment({"rotation": {"degrees": 30}}, PREPROCESS)

    def passes(images: ImageSet, epoch: int) -> list[torch.Tensor]:
        items = TrainingImages(images, PREPROCESS, augment, 0, epoch, passes=2, views=3)
        return [torch.stack([items[turn * len(images) + i][0] for i in range(len(images))]) for turn in range(2)]

    first, second, third, fourth = *passes(IMAGES, 0), *passes(IMAGES, 1)
    assert torch.equal(first, fourth)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert torch.equal(passes(IMAGES.subset([5, 3]), 0)[0], first[[5, 3]])


def test_stored_inputs_come_in_the_order_of_the_images() -> None:
    stored = StoredInputs.of(np.arange(20.0), np.arange(20))
    for epoch in (0, 3):
        for rank in (0, 1):
            rows = list(training_loader(StoredEpoch(stored, 1, epoch, 2), 6, 0, rank, 2))
            images = list(training_loader(TrainingImages(IMAGES, PREPROCESS, None, 1, epoch, 2), 6, 0, rank, 2))
            assert [y.tolist() for _, y in rows] == [y.tolist() for _, y in images]
            assert all(x.tolist() == y.tolist() for x, y in rows)


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
