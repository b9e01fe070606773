"""A frozen backbone optimized for inference: batch norm folded, channels last, in bf16 and compiled where these pay."""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from transferkit.arrays import Features
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import feature
from transferkit.cores import count_cores
from transferkit.features.frozen_network import FrozenStages

log = logging.getLogger(__name__)


COMPILE_FROM = 1e13
"""Operations per core from which compiling pays. It takes 5 to 16 s on two cores and then saves about a third of the
time; they do some 5e11 operations per second, so 2e13 take 40 s. That is 5,500 images through a ResNet-18."""


PART = 16
"""Images per forward pass on a CPU: the first layers' activations of more of them exceed its cache, and allocating
such large blocks costs more than larger products save (ResNet-18, two cores: a tenth of the time)."""


def worth_compiling(operations: float, images: int, cores: int) -> bool:
    """Whether compiling pays on a CPU, for images of `operations` additions and multiplications each.

    Counted rather than timed, so that the same command always decides the same way.
    """
    return operations * images >= COMPILE_FROM * cores


class InferenceNetwork:
    """Computes pooled features of stages. A copy, so that nothing about the caller's backbone changes.

    Args:
        backbone: The network; it runs no further than asked for.
        pool: How features become vectors, one of `choices.POOLS`.
        device: Where.
        precision: Of the products, as `find_precision` returns it.
    """

    def __init__(self, backbone: Backbone, pool: str, device: torch.device, precision: str = "fp32") -> None:
        self.names = backbone.stage_names
        self.pool = pool
        self.device = device
        self._stages = FrozenStages(backbone, device, precision)
        self._compiled: dict[tuple[str, ...], Callable[[Tensor], list[Tensor]]] = {}
        self._compiled_shape: tuple[int, ...] | None = None
        self.compile = False

    def decide(self, setting: bool | str, images: int, size: Sequence[int]) -> None:
        """Set whether to compile: by `setting`, or for "auto" by the number of `images` of (3, H, W)."""
        self.compile = setting is True
        if setting == "auto" and self.device.type == "cpu":
            self.compile = worth_compiling(self.operations(size), images, count_cores())
        if self.compile:
            log.info("Compiling the network, which pays for %d images.", images)

    def run_for(self, name: str) -> tuple[str, ...]:
        """The stages that run for a feature."""
        return self.names[: self.names.index(self._stages.backbone.stage_of(name)) + 1]

    def operations(self, size: Sequence[int]) -> float:
        """Additions and multiplications of matrix products and convolutions for one image (3, H, W)."""
        with FlopCounterMode(display=False) as counter:
            self._run(torch.zeros(1, *size), self.names[-1:])
        return float(counter.get_total_flops())

    def __call__(self, inputs: Tensor, stages: Sequence[str]) -> dict[str, Features]:
        """Pooled features (n, D) of these stages.

        Args:
            inputs: (n, 3, H, W), preprocessed; or uint8, resized and cropped only.
            stages: In the order of the network.
        """
        size = PART if self.device.type == "cpu" else max(len(inputs), 1)
        parts = [self._best(part, tuple(stages)) for part in torch.split(inputs, size)]
        joined = (torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True))
        return dict(zip(stages, joined, strict=True))

    def _best(self, inputs: Tensor, stages: tuple[str, ...]) -> list[Tensor]:
        """Run the compiled network on batches like the first one, the plain one on others."""
        inputs = inputs.to(self.device)  # the rest of the preprocessing is compiled with the network
        self._compiled_shape = self._compiled_shape or tuple(inputs.shape)
        if self.compile and tuple(inputs.shape) == self._compiled_shape:
            # The errors depend on the compiler of the machine; the uncompiled network needs none.
            try:
                with torch.no_grad():  # weights are made constants only where nothing needs their gradients
                    return self._compiled_for(stages)(inputs)
            except Exception as error:
                self.compile = False
                reason = str(error).strip().splitlines()[:1]
                log.warning("The network cannot be compiled here (%s); it runs uncompiled.", *reason or ["unknown"])
        with torch.inference_mode():
            return self._run(inputs, stages)

    def _compiled_for(self, stages: tuple[str, ...]) -> Callable[[Tensor], list[Tensor]]:
        if stages not in self._compiled:
            # Freezing makes the weights constants, whose memory layout is optimized once.
            run = torch.compile(lambda x: self._run(x, stages), dynamic=False, options={"freezing": True})
            self._compiled[stages] = run
        return self._compiled[stages]

    def _run(self, inputs: Tensor, stages: Sequence[str]) -> list[Tensor]:
        states = self._stages(inputs, stages)
        backbone = self._stages.backbone
        return [backbone.pooled(name, feature(states[name]).float(), self.pool) for name in stages]
