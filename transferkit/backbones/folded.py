"""Folding of batch norm into the preceding convolution: the same function in eval mode with fewer memory passes."""

import copy
from collections import Counter
from typing import cast

from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.native_pool import PooledStage, graph_of


def fold_batch_norm(backbone: Backbone) -> Backbone:
    """A copy for inference, in eval mode, whose convolutions contain the batch norm that follows them.

    Equal to the original up to rounding (Jacob et al. 2018, Quantization and Training, section 3.2, equation 14).
    Batch norm that does not directly follow a convolution (DenseNet) is not folded. The copy's parameters have no
    gradient, and other names than the original's.
    """
    folded = copy.deepcopy(backbone).eval().requires_grad_(False)
    for name, stage in folded.stages.items():
        graph = graph_of(stage)
        _part_activations(graph)
        calls = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")
        twice = [graph.get_submodule(str(target)) for target, count in calls.items() if count > 1]
        # The convolution of a second call would be folded already.
        if not any(isinstance(module, _ConvNd | _BatchNorm) for module in twice):
            fused: nn.Module = fuse(graph, inplace=True, no_trace=True)
            if isinstance(stage, PooledStage):
                stage.body = cast(fx.GraphModule, fused)
            else:
                folded.stages[name] = fused
    return folded


def _part_activations(stage: fx.GraphModule) -> None:
    """Split timm's batch norm with activation into two modules, so that the first can be folded."""
    for node in list(stage.graph.nodes):
        norm = stage.get_submodule(str(node.target)) if node.op == "call_module" else None
        # By name, since timm takes seconds to import, and is not needed for other networks.
        if not isinstance(norm, nn.BatchNorm2d) or type(norm).__name__ != "BatchNormAct2d":
            continue
        plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        plain.load_state_dict(norm.state_dict(), strict=False)  # the activation may have parameters too
        stage.add_submodule(f"{node.target}_plain", plain.eval())
        with stage.graph.inserting_before(node):
            normed = stage.graph.call_module(f"{node.target}_plain", node.args)
            activated = stage.graph.call_module(f"{node.target}.act", (normed,))
        node.replace_all_uses_with(activated)
        stage.graph.erase_node(node)
    stage.recompile()
