"""The usual alternatives, written as their users write them."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.speed.clock import finish, now, torch_as_imported
from transferkit.data.preprocess import Preprocessing
from transferkit.device import autocast

Epoch = tuple[float, float]
"""Seconds, and top-1 accuracy on the second data set."""


def training_transform(preprocess: Preprocessing) -> Any:
    """The tutorial's, with the normalisation that the weights want."""
    crop = transforms.RandomResizedCrop(preprocess.input_size)
    normalise = transforms.Normalize(preprocess.mean, preprocess.std)
    return transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])


def testing_transform(preprocess: Preprocessing) -> Any:
    """Resize, center crop, normalise."""
    mode = transforms.InterpolationMode(preprocess.interpolation)
    resize = transforms.Resize(preprocess.resize_size[0], interpolation=mode)
    normalise = transforms.Normalize(preprocess.mean, preprocess.std)
    return transforms.Compose([resize, transforms.CenterCrop(preprocess.input_size), transforms.ToTensor(), normalise])


def freeze_but(model: nn.Module, trained: Callable[[str], bool]) -> list[nn.Parameter]:
    """`requires_grad=False` for the other parameters; returns those that are trained."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = trained(name)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@torch_as_imported()
def tutorial(
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    train: Dataset[Any],
    test: Dataset[Any],
    epochs: int,
    device: torch.device,
    *,
    batch_size: int = 4,
    num_workers: int = 4,
    drop_last: bool = False,
    lr: float = 0.001,
) -> list[Epoch]:
    """The loop of PyTorch's transfer learning tutorial: SGD, each epoch a pass over train and one over test.

    The defaults are the tutorial's, and so is what it does not do: no other precision, no channels_last, frozen batch
    norm in train mode.
    """
    model = model.to(device)
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    loaders = {
        phase: DataLoader(
            images,
            batch_size=batch_size,
            shuffle=True,
            num_workers=num_workers,
            drop_last=drop_last and phase == "train",
        )
        for phase, images in (("train", train), ("test", test))
    }
    rows = []
    for _ in range(epochs):
        start = time.perf_counter()
        right = total = 0
        for phase, loader in loaders.items():
            model.train(phase == "train")
            for inputs, labels in loader:
                inputs, labels = inputs.to(device), labels.to(device)
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = F.cross_entropy(outputs, labels)
                    if phase == "train":
                        loss.backward()  # type: ignore[no-untyped-call]
                        optimizer.step()
                if phase == "test":
                    right += int((outputs.argmax(1) == labels).sum())
                    total += len(labels)
        scheduler.step()
        finish(device)
        rows.append((time.perf_counter() - start, right / total))
    return rows


@torch_as_imported()
def bare(
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    epochs: int,
    device: torch.device,
    precision: str,
    batch_size: int = 32,
    lr: float = 1e-4,
) -> list[tuple[float, float, float]]:
    """Nothing but the work: tensors in memory, channels_last, autocast, AdamW, batch norm in eval mode, no trainer.

    Returns:
        Of each epoch: seconds, CPU seconds, top-1 on val.
    """
    model = model.to(device).to(memory_format=torch.channels_last).eval()
    optimizer = torch.optim.AdamW(parameters, lr=lr)
    rows = []
    for _ in range(epochs):
        start = now()
        order = torch.randperm(len(train[1]))
        full = max(len(order) // batch_size * batch_size, batch_size)  # like transferkit, full batches only
        for inputs, labels in batches(train, order[:full], batch_size, device):
            optimizer.zero_grad()
            with autocast(precision, device):
                loss = F.cross_entropy(model(inputs), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        right = 0
        with torch.inference_mode(), autocast(precision, device):
            for inputs, labels in batches(val, torch.arange(len(val[1])), batch_size, device):
                right += int((model(inputs).argmax(1) == labels).sum())
        finish(device)
        end = now()
        rows.append((end[0] - start[0], end[1] - start[1], right / len(val[1])))
    return rows


def batches(
    data: tuple[Tensor, Tensor], order: Tensor, size: int, device: torch.device
) -> Iterable[tuple[Tensor, Tensor]]:
    """Inputs and labels in that order."""
    for rows in order.split(size):  # type: ignore[no-untyped-call]
        yield data[0][rows].to(device).contiguous(memory_format=torch.channels_last), data[1][rows].to(device)


def in_memory(dataset: Dataset[Any]) -> tuple[Tensor, Tensor]:
    """All items."""
    items = [dataset[i] for i in range(len(dataset))]  # type: ignore[arg-type]
    return torch.stack([x for x, _ in items]), torch.tensor([y for _, y in items])


@torch.no_grad()
def naive_features(
    model: nn.Module, images: Dataset[Any], device: torch.device, num_workers: int = 0
) -> tuple[Any, Any]:
    """A plain loop in fp32 over batches of 32: features (N, D) and labels (N,)."""
    model = model.eval().to(device)
    features, labels = [], []
    for inputs, y in DataLoader(images, batch_size=32, num_workers=num_workers):
        features.append(model(inputs.to(device)).cpu().numpy())
        labels.append(y.numpy())
    return np.concatenate(features), np.concatenate(labels)


def logistic_regression(train: tuple[Any, Any], test: tuple[Any, Any]) -> float:
    """scikit-learn's, with its default C, on standardised features; its test accuracy."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*train)
    return float(classifier.score(*test))
