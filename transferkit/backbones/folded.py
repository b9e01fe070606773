"""Batch norm folded into the convolution before it: the same function of an image in eval mode, in fewer passes."""

import copy
from collections import Counter
from typing import cast

from torch import fx
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from transferkit.backbones.backbone import Backbone


def fold_batch_norm(backbone: Backbone) -> Backbone:
    """A copy for inference, in eval mode, whose convolutions contain the batch norm that follows them.

    Equal to the original up to rounding (Jacob et al. 2018, Quantization and Training, section 3.2, equation 14).
    Batch norm that does not directly follow a convolution (DenseNet), or is of another class than torch's (some of
    timm's, which contain the activation), stays as it is. The copy's parameters have no gradient, and no longer the
    original's names.
    """
    folded = copy.deepcopy(backbone).eval().requires_grad_(False)
    for name, stage in folded.stages.items():
        graph = cast(fx.GraphModule, stage)
        calls = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")
        twice = [graph.get_submodule(str(target)) for target, count in calls.items() if count > 1]
        # The second call would find a convolution folded already.
        if not any(isinstance(module, _ConvNd | _BatchNorm) for module in twice):
            folded.stages[name] = fuse(graph, inplace=True, no_trace=True)
    return folded
