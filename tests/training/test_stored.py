"""Inputs that are computed once: where they are taken, and that they are what the network would compute."""

import numpy as np
import pytest
import torch

import transferkit as tk
from transferkit.backbones.backbone import Backbone
from transferkit.data.imageset import ImageSet
from transferkit.training.stored import Place, choose_place, store_inputs

IMAGES = ImageSet.from_arrays(np.random.default_rng(0).integers(0, 256, (10, 32, 32), np.uint8), np.arange(10) % 3)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tk.create_backbone("narrow_resnet10", "resnet_glyphs")


@pytest.mark.parametrize(
    ("prefix", "limit", "expected"),
    [
        (("stage1", "stage2", "stage3"), 1.0, Place(True, "stage3", 48 * 4 * 4 * 4 * 100 / 1e6)),
        ((), 1.0, Place(True, None, 3 * 32 * 32 * 4 * 100 / 1e6)),
        (("stage1",), 0.0, Place(False)),
        # What leaves stage1 is larger than the image that it comes from.
        (("stage1",), 3 * 32 * 32 * 4 * 100 / 1e9, Place(True, None, 3 * 32 * 32 * 4 * 100 / 1e6)),
    ],
)
def test_as_deep_as_is_frozen_and_as_far_as_memory_allows(
    backbone: Backbone, prefix: tuple[str, ...], limit: float, expected: Place
) -> None:
    assert choose_place(backbone, prefix, torch.zeros(3, 32, 32), 100, limit) == expected


def test_two_tensors_across_a_cut_are_not_stored(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backbone, "forward_stages", lambda self, x, stages: {stages[0]: (x, x)})
    assert choose_place(backbone, ("stage1",), torch.zeros(3, 32, 32), 100, 1.0).stage is None


@pytest.mark.parametrize("stage", [None, "stage3"])
@pytest.mark.parametrize("workers", [0, 2])
def test_they_are_what_the_network_computes(backbone: Backbone, stage: str | None, workers: int) -> None:
    stored = store_inputs(
        backbone, IMAGES, backbone.preprocess, Place(True, stage), torch.device("cpu"), num_workers=workers
    )
    images = torch.stack([backbone.preprocess(IMAGES.image(i)) for i in range(len(IMAGES))])
    with torch.no_grad():
        expected = images if stage is None else backbone.forward_stages(images, [stage])[stage]
    torch.testing.assert_close(stored.tensors, expected, rtol=1e-4, atol=1e-5)
    assert len(stored) == 10
    assert [label for _, label in (stored[i] for i in range(10))] == IMAGES.labels.tolist()
