import logging
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch.utils.data import DataLoader, Dataset

from tests.features.damage import flip_a_bit, some_files
from tests.features.extraction import extract, photographs, tensors, write_photographs
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.data.imageset import ImageSet
from transferkit.device import find_device
from transferkit.errors import TransferkitError
from transferkit.features.extract import extract_features, join_stages


@pytest.mark.parametrize("pool", ["avg", "max", "grid2", "grid4"])
def test_every_pooling_has_rows_of_its_own_in_the_cache(backbone, cache, pool):
    images = photographs(5)
    extract_features(backbone, images, ["stage2", "stage5"], cache=cache)  # the average is there already
    features, stats = extract(backbone, images, ["stage2", "stage5"], cache=cache, pool=pool)
    assert stats.loaded == (0 if pool == "avg" else 5)
    again, stats = extract(backbone, images, ["stage2", "stage5"], cache=cache, pool=pool)
    assert stats.loaded == 0
    states = backbone.eval().forward_stages(tensors(backbone, images), ["stage2", "stage5"])
    for name, state in states.items():
        expected = {
            "avg": lambda h: torch.nn.AdaptiveAvgPool2d(1)(h),
            "max": lambda h: torch.nn.AdaptiveMaxPool2d(1)(h),
            "grid2": lambda h: torch.nn.AdaptiveAvgPool2d(2)(h) if h.shape[2] >= 2 else h,
            "grid4": lambda h: torch.nn.AdaptiveAvgPool2d(4)(h) if h.shape[2] >= 4 else h,
        }[pool](state).flatten(1)
        np.testing.assert_allclose(features[name], expected.detach().numpy(), atol=1e-5, rtol=1e-4)
        np.testing.assert_array_equal(again[name], features[name])


def test_an_unknown_pooling_is_refused_before_any_work(backbone):
    with pytest.raises(TransferkitError, match="grid9"):
        extract_features(backbone, photographs(2), cache=None, pool="grid9")


def test_stages_side_by_side(backbone):
    features = extract_features(backbone, photographs(3), ["stage1", "stage3"], cache=None)
    joined = join_stages(features, ["stage1", "stage3"])
    assert joined.shape == (3, 64 + 128)
    np.testing.assert_array_equal(joined[:, 64:], features["stage3"])
    assert join_stages(features, ["stage1"]) is features["stage1"]


def test_equal_the_original_networks_own(backbone, cache):
    images = photographs(9)
    original = torchvision.models.resnet18()
    original.load_state_dict(backbone.original_state_dict())
    original.eval()
    seen: dict[str, torch.Tensor] = {}
    for module in ("relu", "layer1", "layer3", "avgpool"):
        original.get_submodule(module).register_forward_hook(
            lambda _, __, out, name=module: seen.setdefault(name, out.clone())
        )
    with torch.no_grad():
        logits = original(tensors(backbone, images))
    features, _ = extract(backbone, images, ["stage1", "stage2", "stage4", "stage5", "head"], cache=cache)
    expected = {
        "stage1": seen["relu"].mean((2, 3)),
        "stage2": seen["layer1"].mean((2, 3)),
        "stage4": seen["layer3"].mean((2, 3)),
        "stage5": seen["avgpool"].flatten(1),
        "head": logits,
    }
    assert list(features) == list(expected)
    for name, values in expected.items():
        assert features[name].dtype == np.float32
        np.testing.assert_allclose(features[name], values.numpy(), atol=1e-5, rtol=1e-4, err_msg=name)


def test_the_top_feature_stage_is_the_default(backbone):
    features, _ = extract(backbone, photographs(2), cache=None)
    assert {name: values.shape for name, values in features.items()} == {"stage5": (2, 512)}


def test_independent_of_batch_size_and_workers(backbone):
    images = photographs(13)
    reference, _ = extract(backbone, images, ["stage3", "stage5"], cache=None, batch_size=13, num_workers=0)
    for batch_size, num_workers in [(1, 0), (4, 2), (64, 1)]:
        got, _ = extract(
            backbone, images, ["stage3", "stage5"], cache=None, batch_size=batch_size, num_workers=num_workers
        )
        for name, values in reference.items():
            np.testing.assert_allclose(got[name], values, atol=1e-5)


def test_the_second_time_nothing_is_decoded(backbone, cache):
    images = photographs(7)
    first, stats = extract(backbone, images, cache=cache)
    assert (stats.images, stats.loaded, stats.computed, stats.reused) == (7, 7, {"stage5": 7}, {"stage5": 0})
    assert stats.bytes_written == 7 * 512 * 4
    second, stats = extract(backbone, images, cache=cache)
    assert (stats.images, stats.loaded, stats.computed, stats.reused) == (7, 0, {}, {"stage5": 7})
    assert (stats.forwarded, stats.bytes_written) == ({}, 0)
    np.testing.assert_array_equal(first["stage5"], second["stage5"])


def test_rows_belong_to_contents(backbone, cache, tmp_path):
    """Another split, order, folder, name or added images: what is known is not computed."""
    paths = write_photographs(tmp_path / "a", 8)
    first, _ = extract(backbone, ImageSet.from_files(paths[:6], np.zeros(6)), cache=cache)
    (tmp_path / "a").rename(tmp_path / "b")
    moved = [tmp_path / "b" / path.name for path in reversed(paths)]
    features, stats = extract(backbone, ImageSet.from_files(moved, np.zeros(8)), cache=cache)
    assert stats.loaded == 2
    np.testing.assert_array_equal(features["stage5"][::-1][:6], first["stage5"])


def test_equal_images_are_computed_once(backbone, cache):
    images = photographs(4)
    features, stats = extract(backbone, images.subset([0, 1, 0, 2, 3, 1, 0]), cache=cache)
    assert (stats.images, stats.loaded, stats.computed) == (7, 4, {"stage5": 4})
    alone, _ = extract(backbone, images, cache=None)
    np.testing.assert_allclose(features["stage5"], alone["stage5"][[0, 1, 0, 2, 3, 1, 0]], atol=1e-5)


def test_one_pass_for_all_stages_and_no_deeper_than_needed(backbone, cache):
    images = photographs(6)
    _, stats = extract(backbone, images.subset(range(4)), ["stage2", "stage3"], cache=cache)
    assert stats.loaded == 4
    assert stats.forwarded == {"stage1": 4, "stage2": 4, "stage3": 4}
    _, stats = extract(backbone, images.subset([0]), ["stage5"], cache=cache)
    # Now image 0 has 2, 3, 5; images 1 to 3 have 2, 3; images 4 and 5 have nothing. Stage 1 is wanted too.
    _, stats = extract(backbone, images, ["stage1", "stage3", "stage5"], cache=cache, batch_size=1)
    assert stats.loaded == 6
    assert stats.forwarded == {"stage1": 6, "stage2": 5, "stage3": 5, "stage4": 5, "stage5": 5}
    assert stats.computed == {"stage1": 6, "stage3": 2, "stage5": 5}
    assert stats.reused == {"stage1": 0, "stage3": 4, "stage5": 1}


def change_a_weight(backbone: Backbone) -> Backbone:
    other = create_backbone("resnet18", weights=None, source="torchvision", input_size=32)
    state = backbone.original_state_dict()
    state["layer3.0.conv1.weight"] = state["layer3.0.conv1.weight"] + 1e-3
    other.load_original_state_dict(state)
    return other


def change_the_preprocessing(backbone: Backbone) -> Backbone:
    other = create_backbone("resnet18", weights=None, source="torchvision", input_size=32, mean=0.4)
    other.load_original_state_dict(backbone.original_state_dict())
    return other


@pytest.mark.parametrize(
    ("change", "recomputed"),
    [(change_a_weight, {"stage4": 3}), (change_the_preprocessing, {"stage3": 3, "stage4": 3}), (lambda b: b, {})],
)
def test_what_determines_the_values_is_in_the_key(backbone, cache, change, recomputed):
    images = photographs(3)
    extract(backbone, images, ["stage3", "stage4"], cache=cache)
    features, stats = extract(change(backbone), images, ["stage3", "stage4"], cache=cache)
    assert stats.computed == recomputed
    expected, _ = extract(change(backbone), images, ["stage3", "stage4"], cache=None)
    np.testing.assert_allclose(features["stage4"], expected["stage4"], atol=1e-5)


def test_damaged_rows_are_computed_anew(backbone, cache, caplog):
    images = photographs(5)
    first, _ = extract(backbone, images, cache=cache)
    flip_a_bit(some_files(cache.root, "*.rows")[0])
    second, stats = extract(backbone, images, cache=cache)
    assert 0 < stats.computed["stage5"] < 5  # those of one shard
    assert caplog.text.count("are damaged") == 1
    np.testing.assert_allclose(first["stage5"], second["stage5"], atol=1e-5)
    _, stats = extract(backbone, images, cache=cache)
    assert stats.computed == {}
    assert caplog.text.count("are damaged") == 1


def test_features_that_are_not_finite(backbone, cache):
    broken = create_backbone("resnet18", weights=None, source="torchvision", input_size=32)
    with torch.no_grad():
        broken.get_parameter(next(name for name, _ in broken.named_parameters() if "stage4" in name)).fill_(torch.inf)
    with pytest.raises(TransferkitError, match=r"stage5 are not finite for [012]"):
        extract(broken, photographs(3), cache=cache)


def test_the_backbone_and_the_random_numbers_are_not_touched(backbone, cache):
    backbone.train()
    backbone.stages["stage2"].eval()
    flags = {name: module.training for name, module in backbone.named_modules()}
    strides = {name: p.stride() for name, p in backbone.named_parameters()}
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    random = torch.get_rng_state()
    features, _ = extract(backbone, photographs(5), cache=cache, num_workers=2)
    assert {name: module.training for name, module in backbone.named_modules()} == flags
    assert {name: p.stride() for name, p in backbone.named_parameters()} == strides
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    backbone.eval()
    again, _ = extract(backbone, photographs(5), cache=None)
    np.testing.assert_allclose(features["stage5"], again["stage5"], atol=1e-5)  # in eval mode both times


class Items(Dataset[Any]):
    """The caller's own data set."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def test_the_callers_own_data(backbone, cache):
    images = photographs(6)
    expected, _ = extract(backbone, images, cache=None)
    inputs = tensors(backbone, images)
    own = {
        "images with labels": Items([images[i] for i in range(6)]),
        "images": Items([images.image(i) for i in range(6)]),
        "tensors with labels": Items([(x, 0) for x in inputs]),
        "loader": DataLoader(Items([(x, 0) for x in inputs]), batch_size=4),
        "loader of tensors alone": DataLoader(Items(list(inputs)), batch_size=4),
    }
    for name, dataset in own.items():
        features, stats = extract(backbone, dataset, cache=None)
        np.testing.assert_allclose(features["stage5"], expected["stage5"], atol=1e-5, err_msg=name)
        features, stats = extract(backbone, dataset, cache=cache)
        assert stats.forwarded.get("stage5", 0) == (6 if name in ("images with labels", "tensors with labels") else 0)
        np.testing.assert_allclose(features["stage5"], expected["stage5"], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([np.zeros((40, 40, 3))], "gives a ndarray as image"),
        ([torch.zeros(3, 32, 32, dtype=torch.uint8)], r"tensor of torch\.uint8"),
        ([torch.zeros(3, 32, 32), torch.zeros(3, 40, 32)], "different shapes"),
        ([torch.zeros(3, 32, 32), OSError("bad disk"), OSError("gone")], "item 1: bad disk; .*item 2: gone"),
    ],
)
def test_data_of_the_wrong_kind(backbone, items, message, num_workers):
    with pytest.raises(TransferkitError, match=message) as told:
        extract(backbone, Items(items), cache=None, num_workers=num_workers)
    assert "\n" not in str(told.value)


def test_a_loader_that_shuffles_or_no_data_set(backbone):
    with pytest.raises(TransferkitError, match="shuffle=False"):
        extract(backbone, DataLoader(Items([torch.zeros(3, 32, 32)]), shuffle=True), cache=None)
    with pytest.raises(TransferkitError, match="not generator"):
        extract(backbone, (x for x in [1]), cache=None)


def test_unknown_stage_or_device(backbone):
    with pytest.raises(TransferkitError, match="stage9"):
        extract(backbone, photographs(1), ["stage9"], cache=None)
    with pytest.raises(TransferkitError, match=r"trainer\.device=quantum"):
        find_device("quantum")
    assert find_device("cpu") == torch.device("cpu")


def test_no_images(backbone, cache):
    features, stats = extract(backbone, photographs(3).subset([]), cache=cache)
    assert features["stage5"].shape == (0, 512)
    assert stats.loaded == 0


def test_the_log_tells_what_came_from_where(backbone, cache, caplog):
    caplog.set_level(logging.INFO)
    extract(backbone, photographs(3).subset([0]), cache=cache)
    extract(backbone, photographs(3), cache=cache)
    assert "3 images, 1 from the cache, 2 computed" in caplog.text
