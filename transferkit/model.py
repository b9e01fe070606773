"""A fitted model: a backbone cut after a stage, pooling, and a linear head; a plain `nn.Module` that can predict."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from transferkit import __version__
from transferkit.artifact import read_metadata, read_tensors, write_artifact
from transferkit.backbones.backbone import Backbone, feature, pool_features
from transferkit.backbones.create import create_backbone
from transferkit.data.images import decode
from transferkit.errors import TransferkitError
from transferkit.preprocess import Preprocessing

ImageLike = str | Path | Image.Image | Tensor


class Prediction(NamedTuple):
    """What a model says of one image: the likeliest class, its probability, and those of all classes (K,)."""

    label: str
    confidence: float
    probabilities: npt.NDArray[np.float32]


class TransferModel(nn.Module):
    """A backbone, global average pooling of its last feature map (where it gives one), and a linear head.

    Args:
        backbone: Ends with the stage whose features the head takes.
        head: Maps pooled features (N, D) to logits (N, K).
        class_names: The K names, in the order of the logits.

    Attributes:
        preprocess: Turns a PIL image into the input tensor (3, H, W).
    """

    def __init__(self, backbone: Backbone, head: nn.Linear, class_names: Sequence[str]) -> None:
        super().__init__()
        if head.out_features != len(class_names):
            raise TransferkitError(f"The head gives {head.out_features} logits, for {len(class_names)} class names.")
        self.backbone = backbone
        self.head = head
        self.class_names = list(class_names)

    @property
    def preprocess(self) -> Preprocessing:
        """What turns a PIL image into an input tensor."""
        return self.backbone.preprocess

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of preprocessed images (N, 3, H, W)."""
        logits: Tensor = self.head(pool_features(feature(self.backbone(images))))
        return logits

    @torch.inference_mode()
    def predict(self, images: Iterable[ImageLike], batch_size: int = 32) -> list[Prediction]:
        """Classify images.

        Args:
            images: Paths, PIL images, or tensors: uint8 (C, H, W) is an image, floating point (3, H, W) is taken as
                already preprocessed.
            batch_size: How many images go through the network together.

        Raises:
            TransferkitError: an image cannot be read; the message names it.
        """
        if isinstance(images, str | Path | Image.Image):
            images = [images]
        device = next(self.parameters()).device
        training = self.training
        self.eval()
        predictions = []
        for batch in _batches(images, batch_size):
            inputs = torch.stack([self._input(image) for image in batch]).to(device)
            for probabilities in self(inputs).softmax(dim=1).cpu().numpy():
                best = int(probabilities.argmax())
                predictions.append(Prediction(self.class_names[best], float(probabilities[best]), probabilities))
        self.train(training)
        return predictions

    def _input(self, image: ImageLike) -> Tensor:
        if isinstance(image, Tensor) and image.is_floating_point():
            return image
        return self.preprocess(decode(to_pil_image(image) if isinstance(image, Tensor) else image))


def _batches(images: Iterable[ImageLike], size: int) -> Iterator[list[ImageLike]]:
    iterator = iter(images)
    while batch := list(islice(iterator, size)):
        yield batch


def save_model(folder: Path, model: TransferModel, *, dtype: torch.dtype = torch.float32, **notes: Any) -> None:
    """Write `model` as an artifact.

    Args:
        folder: Where `model.safetensors` and `model.json` go.
        model: What is written.
        dtype: Of the stored floating point weights; they are float32 again when read.
        notes: Further entries of `model.json`, e.g. the data set that the model was fitted to.
    """
    backbone = model.backbone
    tensors = {f"backbone.{name}": tensor for name, tensor in backbone.original_state_dict().items()}
    tensors |= {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    spec = backbone.spec
    metadata = {
        "backbone": {
            "source": spec.source,
            "name": spec.name,
            "kwargs": dict(spec.kwargs),
            "weights": backbone.weights_name,
        },
        "stage": backbone.stage_names[-1],
        "head": {"type": "linear", "in_features": model.head.in_features, "num_classes": model.head.out_features},
        "class_names": model.class_names,
        "preprocessing": backbone.preprocess.to_dict(),
        "versions": {"transferkit": __version__} | {name: version(name) for name in ("torch", "torchvision", "timm")},
        **notes,
    }
    stored = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    write_artifact(folder, metadata, stored)


def load_model(run: str | Path) -> TransferModel:
    """Return the model of a run directory, in eval mode, on the CPU.

    Raises:
        TransferkitError: `run` holds no artifact, or a damaged one.
    """
    folder = Path(run).expanduser()
    metadata = read_metadata(folder)
    architecture = metadata["backbone"]
    backbone = create_backbone(
        architecture["name"], weights=str(folder), source=architecture["source"], kwargs=architecture["kwargs"]
    )
    backbone = backbone.truncate(metadata["stage"])
    backbone.weights_name = architecture["weights"]
    tensors = read_tensors(folder, "head.")
    head = nn.Linear(metadata["head"]["in_features"], metadata["head"]["num_classes"])
    head.load_state_dict(tensors)
    return TransferModel(backbone, head, metadata["class_names"]).eval()
