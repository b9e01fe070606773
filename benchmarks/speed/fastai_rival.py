"""fastai's `vision_learner(...).fine_tune`; needs `python -m pip install -e '.[bench]'`."""

import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.speed.clock import torch_as_imported
from transferkit.data.preprocess import Preprocessing


@torch_as_imported()
def fine_tune(
    make: Callable[[], nn.Module], root: Path, preprocess: Preprocessing, epochs: int, device: torch.device
) -> tuple[float, float]:
    """From a folder with `train/` and `val/` to seconds and top-1 accuracy on the latter.

    Args:
        make: Gives the network with its classifier, which fastai cuts off.
        root: The folder.
        preprocess: Whose mean and std normalise the images.
        epochs: Of all layers, after fastai's one of the head.
        device: That everything runs on.
    """
    vision: Any = import_module("fastai.vision.all")
    network = make()
    start = time.perf_counter()
    loaders = vision.ImageDataLoaders.from_folder(
        root,
        train="train",
        valid="val",
        bs=32,
        device=device,
        item_tfms=vision.Resize(preprocess.input_size[0]),
        batch_tfms=vision.Normalize.from_stats(preprocess.mean, preprocess.std, cuda=device.type == "cuda"),
    )
    learner = vision.vision_learner(
        loaders, lambda pretrained=False, **_: network, pretrained=False, normalize=False, metrics=vision.accuracy
    )
    learner.freeze()  # as with pretrained=True, which would download weights
    with redirect_stdout(StringIO()), learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
        top1 = float(learner.validate()[1])
    return time.perf_counter() - start, top1
