"""A network's native pooling of its top feature to its classifier's input: timm's `forward_head(pre_logits=True)`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, fx, nn

from transferkit.backbones.local_values import Local
from transferkit.backbones.pooling import pool_features
from transferkit.backbones.stages import StageInfo
from transferkit.backbones.subgraphs import stage_graph
from transferkit.backbones.trace import Step

_PLAIN = ("cls", "cls+avg", "avg", "max")


class PooledStage(nn.Module):
    """The top stage with the network's native pooling of its output, whose parameters belong to the stage.

    Attributes:
        body: The stage.
        native_pool: From the feature to a vector (N, D).
    """

    def __init__(self, body: fx.GraphModule, native_pool: fx.GraphModule) -> None:
        super().__init__()
        self.body = body
        self.native_pool = native_pool

    def forward(self, *state: Tensor) -> Tensor:
        """The output of the stage."""
        left: Tensor = self.body(*state)
        return left


def graph_of(stage: nn.Module) -> fx.GraphModule:
    """The graph of a stage, without its native pooling."""
    return cast(fx.GraphModule, stage.body if isinstance(stage, PooledStage) else stage)


def own_pooling(stage: nn.Module) -> Iterator[nn.Module]:
    """The modules of a stage's native pooling; empty for most."""
    if isinstance(stage, PooledStage):
        yield from stage.native_pool.modules()


@dataclass(frozen=True)
class TopPool:
    """How a network's classifier pools the top feature.

    Attributes:
        name: The equivalent pooling of `choices.POOLS`; "native" if there is none.
        known: Whether the native pooling is one of those or `module`.
        module: The native pooling if no other is equivalent.
    """

    name: str
    known: bool = False
    module: fx.GraphModule | None = None


def top_pool(
    model: nn.Module, steps: Sequence[Step], alone: Sequence[bool], begin: int, local: Local, info: StageInfo
) -> TopPool:
    """Determine how a network pools its top feature for its classifier.

    Args:
        model: The network.
        steps: Its operations.
        alone: For each step, whether only its value is used after it.
        begin: Index of the step that computes the top feature.
        local: Values that its stages recompute.
        info: Of the top stage.
    """
    usual = "cls" if info.prefix_tokens and getattr(model, "global_pool", "") != "avg" else "avg"
    end = _before_classifier(model, steps, alone, begin) if not _without_values(model) else None
    shape = steps[end].shape if end is not None else None
    if end is None or shape is None or len(shape) != 2:
        return TopPool(usual)
    nodes = [step.node for step in steps[begin + 1 : end + 1]]
    outside = {used for node in nodes for used in node.all_input_nodes} - set(nodes) - local.keys()
    if any(node.op != "get_attr" and node is not steps[begin].node for node in outside):
        return TopPool(usual)
    module = stage_graph(model, "native_pool", [steps[begin].node], nodes, [steps[end].node], local)
    if not module.state_dict():
        h = torch.randn(2, *(steps[begin].shape or ())[1:], generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = module(h)
        for name in _PLAIN if info.prefix_tokens else _PLAIN[2:]:
            found = pool_features(h, name, info)
            if found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5):
                return TopPool(name, known=True)
    return TopPool("native", known=True, module=module)


def _without_values(model: nn.Module) -> bool:
    """Whether a network is on the meta device, where results, by which poolings are told apart, cannot be compared."""
    parameter = next(model.parameters(), None)
    return parameter is not None and parameter.is_meta


def _before_classifier(model: nn.Module, steps: Sequence[Step], alone: Sequence[bool], begin: int) -> int | None:
    """The step whose value is the input of the classifier, or of all classifiers of a distilled network."""
    after = range(begin + 1, len(steps))
    calls = [i for i in after if steps[i].node.op == "call_module"]
    names = (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
    if isinstance(names, str):
        found = [i for i in calls if steps[i].node.target == names]
    else:
        found = [i for i in calls if isinstance(model.get_submodule(str(steps[i].node.target)), nn.Linear)]
        if names is not None and found:
            return max(
                (i for i in range(begin + 1, found[0]) if alone[i] and len(steps[i].shape or ()) == 2), default=None
            )
        found = [i for i in found if i == len(steps) - 1]
    if len(found) != 1:
        return None
    taken = steps[found[0]].node.args[0]
    return next((i for i, step in enumerate(steps) if step.node is taken), None)
