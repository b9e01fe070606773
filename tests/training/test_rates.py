import numpy as np
import pytest
import torch
from torch import nn

import transferkit as tk
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Phase, Plan
from transferkit.training.rates import adapted_rates, normalises_layers

RATES = {"stage5": 1e-4, "head": 1e-3}
PHASES = (Phase("a", {"head": 1e-3}, 1),)
CONVOLUTIONS = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LayerNorm(4))


@pytest.mark.parametrize(
    ("norm", "given", "expected"),
    [(800.0, "auto", 2.5e-4), (100.0, "auto", 1e-3), (None, "auto", 1e-3), (600.0, 1.0, 1e-3), (600.0, 0.5, 5e-4)],
)
def test_the_head_learns_more_slowly_from_larger_features(
    norm: float | None, given: str | float, expected: float
) -> None:
    plan = Plan("p", PHASES, head_scale=given)
    assert adapted_rates(RATES, CONVOLUTIONS, plan, norm) == pytest.approx({"stage5": 1e-4, "head": expected})


def test_a_step_then_changes_the_logits_equally_for_any_scale_and_number_of_features() -> None:
    changes = []
    for width, scale in ((256, 1.0), (1280, 1.0), (1280, 3.0)):
        features = scale * torch.rand(8, width, generator=torch.Generator().manual_seed(0)) * 2
        plan = Plan("p", PHASES)
        rate = adapted_rates({"head": 1e-3}, CONVOLUTIONS, plan, float(features.abs().sum(1).mean()))["head"]
        head = nn.Linear(width, 2)
        optimizer, before = torch.optim.Adam(head.parameters(), rate), head(features).detach()
        nn.functional.cross_entropy(head(features), torch.zeros(8, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        changes.append(float((head(features).detach() - before).abs().mean()))
    np.testing.assert_allclose(changes, changes[0], rtol=0.05)


@pytest.mark.parametrize(
    ("init", "given", "factor"), [("pretrained", 0.1, 0.1), ("pretrained", 1.0, 1.0), ("random", 0.1, 1.0)]
)
def test_transformers_train_at_lower_rates_below_the_head(init: str, given: float, factor: float) -> None:
    plan = Plan("p", (Phase("a", RATES, 1),), init=init, layer_norm_scale=given)
    tiny = {"patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 10}
    backbone = tk.create_backbone("vit_tiny_patch16_224", None, "timm", kwargs=tiny, input_size=32)
    module = FinetuneModule(backbone, 3, plan)
    assert module.rates == pytest.approx({"stage5": factor * 1e-4, "head": 1e-3})
    assert normalises_layers(backbone)
    assert not normalises_layers(CONVOLUTIONS)
