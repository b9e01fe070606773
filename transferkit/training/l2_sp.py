"""L2-SP: the weights are drawn to where they started, not to zero (Li, Grandvalet & Davoine 2018, section 3)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class StartingPoint:
    """The pretrained weights, and the penalty on the distance from them.

    The penalty is alpha / 2 times the squared distance of all trained weights of the network, plus beta / 2 times the
    squared norm of the head's, which have no pretrained values. It replaces weight decay.

    Args:
        network: With its pretrained weights, which are copied.
        settings: `alpha` and `beta`.
    """

    def __init__(self, network: nn.Module, settings: Mapping[str, Any]) -> None:
        self._alpha, self._beta = float(settings["alpha"]), float(settings["beta"])
        self._start = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    def penalty(self, network: nn.Module, head: nn.Linear) -> Tensor:
        """The penalty, a scalar.

        Args:
            network: The one that was given, in training.
            head: Its weight counts where it is trained.
        """
        total = torch.zeros((), device=head.weight.device)
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                if self._start[name].device != parameter.device:
                    self._start[name] = self._start[name].to(parameter.device)
                total = total + self._alpha / 2 * (parameter - self._start[name]).square().sum()
        if head.weight.requires_grad:
            total = total + self._beta / 2 * head.weight.square().sum()
        return total
