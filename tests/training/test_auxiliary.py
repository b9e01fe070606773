"""GoogLeNet's auxiliary classifiers, against torchvision's network in training mode."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy

import transferkit as tk
from tests.training.test_finetune_module import plan
from transferkit.errors import TransferkitError
from transferkit.models.transfer_model import load_model, save_model
from transferkit.training.finetune_module import FinetuneModule

IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 1])
WANTED = {"aux_logits": True}


def module_of(train: dict[str, Any], **keys: Any) -> FinetuneModule:
    torch.manual_seed(0)
    backbone = tk.create_backbone("googlenet", None, kwargs=WANTED)
    return FinetuneModule(backbone, 3, plan(train, **keys)).train()


def quieten(network: nn.Module) -> None:
    """Switch dropout off, and let batch norm use running statistics: on four small images it multiplies rounding."""
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.BatchNorm2d):
            module.eval()


def loss_of(module: FinetuneModule) -> Any:
    return module.training_step((IMAGES, LABELS), 0)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log:UserWarning")
def test_loss_and_gradients_are_those_of_the_original() -> None:
    module = module_of({"*": 1e-3}, batch_norm="batch", label_smoothing=0.0)
    assert module.auxiliary is not None
    with torch.device("meta"):
        original: Any = torchvision.models.googlenet(num_classes=3, aux_logits=True, init_weights=False)
    state = module.model.backbone.original_state_dict() | {
        **{f"fc.{key}": value for key, value in module.model.head.state_dict().items()},
        **module.auxiliary.classifiers.state_dict(),
    }
    original.load_state_dict({key: value.clone() for key, value in state.items()}, strict=True, assign=True)
    quieten(module)
    quieten(original.train().requires_grad_(True))

    loss_of(module).backward()
    logits, aux2, aux1 = original(IMAGES)
    expected: Any = cross_entropy(logits, LABELS) + 0.3 * (cross_entropy(aux1, LABELS) + cross_entropy(aux2, LABELS))
    expected.backward()
    assert torch.allclose(loss_of(module), expected, atol=1e-4)
    found = {name.split(".", 2)[2]: p.grad for name, p in module.model.backbone.named_parameters()}
    found |= {name: p.grad for name, p in module.auxiliary.classifiers.named_parameters()}
    found |= {f"fc.{name}": p.grad for name, p in module.model.head.named_parameters()}
    for name, parameter in original.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_they_train_with_their_stage_and_at_the_rate_of_the_head() -> None:
    rates = {group["name"]: group["lr"] for group in module_of({"head": 0.1, "stage4": 0.01}).parameter_groups()}
    assert rates["auxiliary"] == 0.1
    frozen = module_of({"head": 0.1, "stage5": 0.01})
    assert "auxiliary" not in {group["name"] for group in frozen.parameter_groups()}
    assert not any(key.startswith("auxiliary.") for key in frozen.state_dict().keys() - frozen.frozen_keys())


@pytest.mark.filterwarnings("ignore:You are trying to `self.log:UserWarning")
def test_they_are_no_part_of_the_model(tmp_path: Any) -> None:
    module = module_of({"*": 1e-3}, batch_norm="batch")
    before = module.eval()(IMAGES)
    loss_of(module.train())
    assert not any("aux" in key for key in module.model.state_dict())
    assert not any(part._forward_pre_hooks for part in module.modules())
    assert before.shape == (4, 3)
    save_model(tmp_path, module.model.eval())
    with torch.inference_mode():
        assert torch.allclose(load_model(tmp_path)(IMAGES), module.model(IMAGES), atol=1e-5)


def test_without_the_argument_there_are_none() -> None:
    backbone = tk.create_backbone("googlenet", None)
    assert FinetuneModule(backbone, 3, plan({"head": 0.1})).auxiliary is None
    with pytest.raises(TransferkitError, match="googlenet, not for inception_v3"):
        tk.create_backbone("inception_v3", None, kwargs=WANTED)
