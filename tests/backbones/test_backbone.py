import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.backbones.pooling import pool_features
from transferkit.backbones.stage_sequence import feature
from transferkit.errors import TransferkitError

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return create_backbone("resnet18", weights=None)


def test_names(resnet):
    assert resnet.stage_names == ("stage1", "stage2", "stage3", "stage4", "stage5", "head")
    assert resnet.feature_stages == resnet.stage_names[:-1]
    assert resnet.top == "stage5"
    assert not resnet.training


def test_stages_are_the_papers():
    """He 2015, table 1, by torchvision's own module names."""
    resnet = create_backbone("resnet18", weights=None)
    owners = {
        stage: {name.split(".")[0] for name, _ in resnet.stages[stage].named_parameters()}
        for stage in resnet.stage_names
    }
    assert owners == {
        "stage1": {"conv1", "bn1"},
        "stage2": {"layer1"},
        "stage3": {"layer2"},
        "stage4": {"layer3"},
        "stage5": {"layer4"},
        "head": {"fc"},
    }


@torch.inference_mode()
def test_features_equal_torchvisions_feature_extraction(resnet):
    original = torchvision.models.resnet18()
    original.load_state_dict(resnet.original_state_dict())
    nodes = {"relu": "stage1", "layer1": "stage2", "layer2": "stage3", "layer3": "stage4", "layer4": "stage5"}
    extractor = torchvision.models.feature_extraction.create_feature_extractor(original.eval(), nodes)
    states = resnet.forward_stages(X, ["stage*"])
    for stage, expected in extractor(X).items():
        assert torch.equal(feature(states[stage]), expected)


def test_only_wanted_stages_are_returned_and_no_later_ones_run(resnet):
    ran = []
    handles = [
        stage.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, stage in resnet.stages.items()
    ]
    states = resnet.forward_stages(X, ["stage3", "stage1"])
    for handle in handles:
        handle.remove()
    assert list(states) == ["stage1", "stage3"]
    assert ran == ["stage1", "stage2", "stage3"]
    assert resnet.forward_stages(X, []) == {}


def test_a_misspelt_stage_is_an_error_everywhere(resnet):
    with pytest.raises(TransferkitError, match=r"'stage9'.*stage5"):
        resnet.forward_stages(X, ["stage9"])
    with pytest.raises(TransferkitError, match=r"'stage9'.*stage5"):
        resnet.forward_from("stage9", X)
    with pytest.raises(TransferkitError, match=r"'fc7'.*stage5"):
        resnet.truncate("fc7")


@torch.inference_mode()
def test_truncate_shares_the_modules_and_returns_the_feature(resnet):
    short = resnet.truncate("stage3")
    assert short.stage_names == ("stage1", "stage2", "stage3")
    assert short.top == "stage3"
    assert torch.equal(short(X), resnet.forward_stages(X, ["stage3"])["stage3"])
    assert short.stages["stage1"] is resnet.stages["stage1"]
    assert not short.training
    assert resnet.truncate("head").stage_names == resnet.stage_names


def test_pooling():
    maps = torch.randn(2, 5, 3, 3)
    assert torch.allclose(pool_features(maps), nn.AdaptiveAvgPool2d(1)(maps).flatten(1))
    assert torch.equal(pool_features(maps, "max"), nn.AdaptiveMaxPool2d(1)(maps).flatten(1))
    assert torch.equal(pool_features(maps[:, :, 0, 0]), maps[:, :, 0, 0])
    assert feature((maps, maps[:1])).shape[0] == 1


@pytest.mark.parametrize("cells", [2, 3, 4])
def test_pooling_to_a_grid(cells):
    maps = torch.randn(2, 5, 12, 24).to(memory_format=torch.channels_last)
    pooled = pool_features(maps, f"grid{cells}").reshape(2, 5, cells, cells)
    high, wide = 12 // cells, 24 // cells
    for i in range(cells):
        for j in range(cells):
            cell = maps[:, :, i * high : (i + 1) * high, j * wide : (j + 1) * wide]
            assert torch.allclose(pooled[:, :, i, j], cell.mean(dim=(2, 3)), atol=1e-6)


def test_a_map_smaller_than_the_grid_and_a_vector_keep_what_they_have():
    small = torch.randn(2, 5, 1, 2)
    assert torch.equal(pool_features(small, "grid3"), small.flatten(1))
    assert torch.equal(pool_features(small[:, :, :1, :1], "grid2"), small[:, :, 0, 0])
    assert torch.equal(pool_features(small[:, :, 0, 0], "grid4"), small[:, :, 0, 0])


def test_the_classifier_sees_the_pooled_top_feature(resnet):
    """Where the original pools plainly, the top feature is what its classifier takes."""
    pooled = pool_features(feature(resnet.forward_stages(X, ["stage5"])["stage5"]))
    assert torch.allclose(resnet.stages["head"].fc(pooled), resnet(X), atol=1e-5)


def test_train_switches_dropout_drop_path_and_batch_norm():
    backbone = create_backbone("efficientnet_b0", weights=None)
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    assert torch.equal(backbone(X), backbone(X))
    backbone.train()
    assert not torch.equal(backbone(X), backbone(X))
    changed = [name for name, value in backbone.named_buffers() if not torch.equal(value, before[name])]
    assert any(name.startswith("stages.stage1.") and name.endswith("running_mean") for name in changed)
    assert {type(m).__name__ for m in backbone.modules()} >= {"StochasticDepth", "Dropout", "BatchNorm2d"}


def test_a_stage_in_eval_mode_stays_still_while_the_rest_trains(resnet):
    backbone = copy.deepcopy(resnet).train()
    backbone.stages["stage1"].eval()
    before = {name: value.clone() for name, value in backbone.original_state_dict().items()}
    backbone(X)
    after = backbone.original_state_dict()
    assert torch.equal(after["bn1.running_mean"], before["bn1.running_mean"])
    assert not torch.equal(after["layer1.0.bn1.running_mean"], before["layer1.0.bn1.running_mean"])


def test_gradients_reach_every_parameter(resnet):
    backbone = copy.deepcopy(resnet)
    backbone(X).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@torch.inference_mode()
def test_copies_and_pickles_give_the_same(resnet):
    for other in (copy.deepcopy(resnet), pickle.loads(pickle.dumps(resnet))):
        assert torch.equal(other(X), resnet(X))
        assert other.preprocess == resnet.preprocess


def test_other_input_sizes_and_channels_last(resnet):
    x = torch.randn(1, 3, 96, 160)
    assert resnet.truncate("stage5")(x).shape == (1, 512, 3, 5)
    fast = copy.deepcopy(resnet).to(memory_format=torch.channels_last)
    assert torch.allclose(fast(x.to(memory_format=torch.channels_last)), resnet(x), atol=1e-4)


def test_a_head_for_other_classes_is_left_out_and_said_so(resnet, caplog):
    ten = torchvision.models.resnet18(num_classes=10)
    backbone = copy.deepcopy(resnet)
    assert backbone.load_original_state_dict(ten.state_dict(), "file.pth") == ["fc.weight", "fc.bias"]
    assert "file.pth" in caplog.text
    assert "fc.weight, fc.bias" in caplog.text
    assert torch.equal(backbone.original_state_dict()["layer4.1.conv2.weight"], ten.layer4[1].conv2.weight)


def test_any_other_mismatch_is_an_error_that_lists_the_keys_and_loads_nothing(resnet):
    state = {name: value + 1 for name, value in resnet.original_state_dict().items()}
    before = resnet.original_state_dict()["conv1.weight"].clone()
    del state["bn1.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1)
    with pytest.raises(
        TransferkitError, match=r"f\.pth.*resnet18.*bn1\.bias.*extra\.weight.*layer1\.0\.conv1\.weight"
    ) as caught:
        resnet.load_original_state_dict(state, "f.pth")
    assert "\n" not in str(caught.value)
    assert torch.equal(resnet.original_state_dict()["conv1.weight"], before)
