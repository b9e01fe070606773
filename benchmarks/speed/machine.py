"""The machine, and its limits: matrix products, and a network's forward pass at its best."""

import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

from benchmarks.speed.clock import seconds_of
from benchmarks.speed.options import Options

PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "scikit-learn", "fastai", "pillow", "numpy")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def describe(options: Options) -> dict[str, str]:
    """The machine and the versions, for people."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    model, flags = _cpu()
    gpu = f"; {torch.cuda.get_device_name()}" if options.device.startswith("cuda") else ""
    return {
        "machine": f"{model}, {options.threads} threads{gpu}; {', '.join(name for name in FLAGS if name in flags)}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(versions),
    }


def _cpu() -> tuple[str, set[str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return values.get("model name", platform.machine()), set(values.get("flags", "").split())


def matmul_peak(precision: str, device: torch.device, quick: bool = False) -> float:
    """Floating point operations a second of the best of some square matrix products."""
    best = 0.0
    for size in (1024,) if quick else (1024, 2048, 4096):
        a, b = (torch.randn(size, size, device=device).to(TYPES[precision]) for _ in range(2))
        times = [seconds_of(lambda a=a, b=b: a @ b, device) for _ in range(3 if quick else 8)]  # type: ignore[misc]
        best = max(best, 2 * size**3 / min(times))
    return best


def forwards(
    make: Callable[[], nn.Module], device: torch.device, bf16: bool, batches: tuple[int, ...], seconds: float
) -> Iterator[tuple[str, float]]:
    """A network's forward pass in several ways: what was done to it, and images a second without compiling.

    Args:
        make: Gives the network.
        device: That it runs on.
        bf16: Whether the device multiplies in bf16.
        batches: Sizes of the batches that the compiled ones are tried with; the first serves the others.
        seconds: To measure each.
    """
    first = torch.randn(batches[0], 3, 224, 224, device=device)
    last = torch.channels_last
    yield "fp32", _rate(make().eval().to(device), first, device, seconds)
    plain = make().eval().to(device).to(memory_format=last)
    yield "fp32, channels_last", _rate(plain, first.contiguous(memory_format=last), device, seconds)
    if bf16:
        half = make().eval().to(device, torch.bfloat16).to(memory_format=last)
        inputs = first.bfloat16().contiguous(memory_format=last)
        yield "bf16, channels_last", _rate(half, inputs, device, seconds)
    for batch in batches:
        dtype = torch.bfloat16 if bf16 else torch.float32
        inputs = torch.randn(batch, 3, 224, 224, device=device).to(dtype).contiguous(memory_format=last)
        network = make().eval().to(device, dtype).to(memory_format=last)
        with inductor.patch(freezing=True):
            compiled: Any = torch.compile(network, dynamic=False)
            rate = _rate(compiled, inputs, device, seconds)
        name = "bf16" if bf16 else "fp32"
        yield f"{name}, channels_last, compiled with frozen weights, batches of {batch}", rate


def _rate(network: Callable[[Tensor], Tensor], inputs: Tensor, device: torch.device, seconds: float) -> float:
    """Images a second: the median of the passes that fit into some seconds, after two that warm up."""
    with torch.no_grad():
        for _ in range(2):
            network(inputs)
        times: list[float] = []
        while sum(times) < seconds or len(times) < 3:
            times.append(seconds_of(lambda: network(inputs), device))
    return len(inputs) / median(times)


def set_threads(options: Options) -> None:
    """Give torch its threads."""
    torch.set_num_threads(options.threads)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
