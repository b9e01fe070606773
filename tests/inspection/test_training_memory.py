"""The cost of a training step, against sums by hand and against torch's own bookkeeping."""

import pytest
from torch import nn

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import BackboneSpec
from transferkit.backbones.stages import StageInfo
from transferkit.data.preprocess import Preprocessing
from transferkit.inspection.training_memory import state_per_parameter, step_costs
from transferkit.training.plan import Phase, Plan

SIDE, CLASSES = 16, 3


def plan(**train: float) -> Plan:
    return Plan("mine", (Phase("only", train, 1),), optimizer={"name": "sgd", "momentum": 0.9})


def small_backbone(groups: int = 1) -> Backbone:
    """Two convolutions of stride 1 with ReLU in place, and a max pool between them."""
    stages = {
        "stage1": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2)),
        "stage2": nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=groups), nn.ReLU(True)),
    }
    infos = {name: StageInfo(name, width, 2, grid=(8, 8)) for name, width in (("stage1", 4), ("stage2", 8))}
    preprocess = Preprocessing().override(input_size=SIDE)
    return Backbone(stages, infos, preprocess, BackboneSpec("torchvision", "small")).to("meta")


def test_by_hand() -> None:
    everything = plan(**{"stage1": 0.1, "stage2": 0.1, "head": 0.1})
    whole, top = step_costs(small_backbone(), CLASSES, plan(stage2=0.1, head=0.1), everything)
    image, first, pooled, second = 3 * SIDE**2, 4 * SIDE**2, 4 * 8**2, 8 * 8**2
    assert whole.kept_values == image + first + pooled + second + 8  # and the pooled vector
    assert whole.kept_bytes == pooled * 8  # positions of the maxima, 64 bits each
    assert top.kept_values == pooled + second + 8
    assert top.kept_bytes == 0
    assert (whole.parameters, top.parameters) == (3 * 4 * 9 + 4 + 4 * 8 * 9 + 8 + 27, 4 * 8 * 9 + 8 + 27)
    one, two, head = 3 * 4 * 9 * SIDE**2, 4 * 8 * 9 * 8**2, 8 * CLASSES
    # Backward costs a convolution for the weights and one for the input, which the first layer does not need.
    assert whole.multiply_adds == 2 * one + 3 * two + 3 * head
    assert (top.frozen_multiply_adds, top.multiply_adds) == (one, one + 2 * two + 3 * head)
    assert top.total_bytes(10, "bf16") == 10 * 2 * (pooled + second + 8) + 2 * 4 * top.parameters
    assert top.trained == ("stage2", "head")


def test_grouped_convolutions_cost_their_share() -> None:
    everything = plan(**{"stage*": 0.1, "head": 0.1})
    (whole,), (grouped,) = (step_costs(small_backbone(groups), CLASSES, None, everything) for groups in (1, 4))
    assert whole.multiply_adds - grouped.multiply_adds == 3 * (4 - 1) * 8 * 9 * 8**2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "sgd", "momentum": 0.9}, 1),
        ({"name": "sgd", "momentum": 0.0}, 0),
        ({"name": "adamw", "weight_decay": 0.1, "lr_scale": 0.5}, 2),
    ],
)
def test_the_optimizer_keeps(settings: dict[str, object], expected: int) -> None:
    assert state_per_parameter(settings) == expected


def test_gradients_of_frozen_stages_are_not_kept() -> None:
    """A trained first stage needs the way back through all others."""
    everything = plan(**{"stage*": 0.1, "head": 0.1})
    whole, first = step_costs(small_backbone(), CLASSES, plan(stage1=0.1), everything)
    assert first.frozen_multiply_adds == 0
    assert first.parameters == 3 * 4 * 9 + 4
    assert whole.multiply_adds > first.multiply_adds
