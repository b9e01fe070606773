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
