"""The memory and computation of a training step, by what is trained: counted by autograd itself, on the meta device."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import State, feature
from transferkit.inspection.layers import BYTES
from transferkit.training.freezing import set_gradients, set_modes
from transferkit.training.optimizers import create_optimizer
from transferkit.training.plan import Plan

_IMAGES = 2  # batch norm needs more than one value a channel
_WEIGHT = BYTES["fp32"]  # weights, gradients and optimizer state stay in fp32 under autocast


@dataclass(frozen=True)
class StepCost:
    """A training step of one set of trained stages.

    Attributes:
        name: Of the phase.
        trained: Stages.
        parameters: Trainable ones.
        kept_values: Activations that backward needs, for one image: values at the precision of the network.
        kept_bytes: Of what is no floating-point number there: the positions of maxima, masks of dropout.
        state: Values that the optimizer keeps for a parameter: 2 for Adam, 1 for momentum, 0 for plain SGD.
        multiply_adds: Of forward and backward, for one image.
        frozen_multiply_adds: The part of the frozen stages before the first trained one, whose activations are cached.
    """

    name: str
    trained: tuple[str, ...]
    parameters: int
    kept_values: int
    kept_bytes: int
    state: float
    multiply_adds: int
    frozen_multiply_adds: int

    def activation_bytes(self, images: int, precision: str) -> int:
        """Of a batch, in a format that `device.find_precision` returns."""
        return images * (self.kept_values * BYTES[precision] + self.kept_bytes)

    @property
    def gradient_bytes(self) -> int:
        """Of the trainable parameters."""
        return self.parameters * _WEIGHT

    @property
    def optimizer_bytes(self) -> int:
        """Of the optimizer's state."""
        return round(self.parameters * _WEIGHT * self.state)

    def total_bytes(self, images: int, precision: str) -> int:
        """All of these; the weights come on top, whatever is trained."""
        return self.activation_bytes(images, precision) + self.gradient_bytes + self.optimizer_bytes


def step_costs(backbone: Backbone, num_classes: int, plan: Plan | None, everything: Plan) -> list[StepCost]:
    """The step of a training of all stages, and of each phase of a plan.

    Args:
        backbone: On the meta device; its gradients and modes are changed.
        num_classes: Outputs of the new head.
        plan: Of the strategy; None for one that trains no network.
        everything: The plan that says how all stages would be trained: its optimizer and batch norm.
    """
    top = backbone.truncate(backbone.top)
    head = nn.Linear(backbone.width(backbone.top), num_classes, device="meta")
    names = (*top.stage_names, "head")
    costs = [_cost("all stages", top, head, names, everything)]
    for phase in plan.phases if plan is not None else ():
        costs.append(_cost(phase.name, top, head, tuple(phase.rates(names)), plan or everything))
    return costs


def state_per_parameter(settings: Any) -> float:
    """Values of the optimizer's state for a parameter, measured on a small layer."""
    layer = nn.Linear(32, 32, bias=False)
    layer.weight.grad = torch.ones_like(layer.weight)
    given = {key: value for key, value in settings.items() if key != "lr_scale"}
    optimizer = create_optimizer([{"params": [layer.weight], "lr": 1e-3}], given)
    optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(value.numel() for value in kept if value.numel() > 1) / layer.weight.numel()


def _convolution_backward(grad: Any, x: Any, weight: Any, *more: Any, **rest: Any) -> int:
    """Operations of the backward pass: those of the forward pass for each of the gradients that are wanted.

    torch's own formula takes grouped convolutions for full ones.
    """
    forward: int = 2 * math.prod(grad) * math.prod(weight[1:])
    wanted: int = sum(more[-1][:2])
    return forward * wanted


_CORRECTED = {torch.ops.aten.convolution_backward: _convolution_backward}


def _cost(name: str, top: Backbone, head: nn.Linear, trained: Collection[str], plan: Plan) -> StepCost:
    modules = {**dict(top.stages.items()), "head": head}
    set_gradients(modules, trained)
    top.train()
    set_modes(modules, trained, plan.batch_norm)
    frozen = list(takewhile(lambda stage: stage not in trained, top.stage_names))
    images = torch.zeros(_IMAGES, 3, *top.preprocess.input_size, device="meta")
    kept = _Kept([*top.parameters(), *top.buffers(), *head.parameters()])
    with FlopCounterMode(display=False, custom_mapping=_CORRECTED) as counter:
        with torch.no_grad():
            state: State = top.forward_stages(images, frozen[-1:])[frozen[-1]] if frozen else images
        before = counter.get_total_flops()
        with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda saved: saved):
            state = top.forward_from(frozen[-1], state) if frozen else top(state)
            output = head(top.pooled(top.top, feature(state)))
        output.sum().backward()
    parameters = {id(p): p.numel() for module in modules.values() for p in module.parameters() if p.requires_grad}
    return StepCost(
        name,
        tuple(stage for stage in modules if stage in trained),
        sum(parameters.values()),
        kept.values // _IMAGES,
        kept.bytes // _IMAGES,
        state_per_parameter(plan.optimizer),
        counter.get_total_flops() // 2 // _IMAGES,
        before // 2 // _IMAGES,
    )


class _Kept:
    """Counts what autograd saves, each memory once, and none of the weights.

    Attributes:
        values: Floating-point values.
        bytes: Of the rest.
    """

    def __init__(self, own: Iterable[Tensor]) -> None:
        self.values = 0
        self.bytes = 0
        self._counted = {_memory(tensor) for tensor in own}
        self._alive: list[Tensor] = []  # so that no memory is given out twice

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor, and return it, as a hook of `saved_tensors_hooks`."""
        if _memory(tensor) not in self._counted:
            self._counted.add(_memory(tensor))
            self._alive.append(tensor)
            size = tensor.untyped_storage().nbytes()
            if tensor.is_floating_point():
                self.values += size // tensor.element_size()
            else:
                self.bytes += size
        return tensor


def _memory(tensor: Tensor) -> Any:
    return tensor.untyped_storage()._cdata
