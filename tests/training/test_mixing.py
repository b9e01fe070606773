import torch
import torch.nn.functional as F

from transferkit.config.compose import load_strategy_settings
from transferkit.targets.multilabel_target import MultilabelTarget
from transferkit.training.mixing import create_mixing
from transferkit.training.plan import plan_of


def test_several_labels_are_mixed_as_their_images_are() -> None:
    """The loss is the mean of those of both images, each by its share, which the mixed images tell."""
    torch.manual_seed(0)
    mix = create_mixing(plan_of(load_strategy_settings("lp_ft", ["strategy.mixup=1.0"])), 3)
    assert mix is not None
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 2, 2).clone()
    mixed, soft = mix(images, labels)
    share = float(1 - (mixed[1, 0, 0, 0] - 1) / -1)  # of itself; the rest is of the image before, whose pixels are 0
    assert 0 < share < 1
    logits, target = torch.randn(4, 3), MultilabelTarget(("a", "b", "c"))
    own, before = (F.binary_cross_entropy_with_logits(logits, given.float()) for given in (labels, labels.roll(1, 0)))
    torch.testing.assert_close(target.training_loss(logits, soft), share * own + (1 - share) * before)
