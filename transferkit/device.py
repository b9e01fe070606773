"""The device and number format that networks run in."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from transferkit.choices import PRECISIONS
from transferkit.errors import TransferkitError, unknown_name

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The torch dtype of each format that `find_precision` returns."""


def find_device(device: str | torch.device) -> torch.device:
    """The device of that name; for "auto" the first available of cuda, mps and cpu.

    Raises:
        TransferkitError: The device is unknown or unavailable.
    """
    try:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without it
        reason = str(error).splitlines()[0]
        raise TransferkitError(f"trainer.device={device} cannot be used here ({reason}); try auto or cpu.") from error


def find_precision(precision: str, device: torch.device) -> str:
    """The number format for that setting: "fp32", or "bf16" or "fp16" for autocast, where weights stay fp32.

    "auto" is bf16 where the hardware supports it natively (a CPU with AVX512-BF16 or AMX, most GPUs since 2020), fp16
    on other CUDA GPUs, else fp32. Other CPUs emulate bf16, which is slower than fp32.

    Raises:
        TransferkitError: The format is unknown, or the device cannot use it.
    """
    if precision not in PRECISIONS:
        raise TransferkitError(unknown_name("trainer.precision", precision, PRECISIONS, "precision"))
    if precision == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return "bf16" if device.type == "cpu" and cpu_multiplies_bf16() else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise TransferkitError("trainer.precision=fp16 is for GPUs; on a CPU use auto, bf16 or fp32.")
    return precision


def run_place(settings: Mapping[str, Any]) -> tuple[torch.device, str]:
    """The device and the precision of the `trainer` settings."""
    device = find_device(settings["trainer"]["device"])
    return device, find_precision(settings["trainer"]["precision"], device)


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for matrix products in bf16."""
    # Of torch's own; older versions lack one or the other.
    return any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Context that runs a network in a format that `find_precision` returned."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, TYPES[precision])
