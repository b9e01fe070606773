"""A fitted model: a backbone cut after a stage, pooling, and a head; a plain `nn.Module` that can predict."""

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
from transferkit.artifact import METADATA_FILE, Artifact, open_artifact, write_artifact
from transferkit.artifact_schema import NeighborsPart
from transferkit.backbones.backbone import Backbone, feature
from transferkit.backbones.create import create_backbone
from transferkit.backbones.last_blocks import count_in_name
from transferkit.data.images import decode
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError, shown_text
from transferkit.probes.neighbors import NeighborHead

ImageLike = str | Path | Image.Image | Tensor
Head = nn.Linear | NeighborHead


class Prediction(NamedTuple):
    """The prediction for one image: the most likely class, its probability, and those of all classes (K,)."""

    label: str
    confidence: float
    probabilities: npt.NDArray[np.float32]


class TransferModel(nn.Module):
    """A backbone, pooling of the features of one or several of its stages, and a head on them.

    Args:
        backbone: The network; stages after the last one of `stages` do not run.
        head: Maps pooled features (N, D) to logits (N, K); features of several stages are concatenated.
        class_names: The K names, in the order of the logits.
        stages: Names (or patterns) of the stages whose features the head takes; by default the backbone's last.
        pool: How features are pooled, as in `extract_features`.

    Attributes:
        stages: The names, in the order of the network.
        preprocess: Turns a PIL image into the input tensor (3, H, W).

    Raises:
        TransferkitError: The head does not match the class names, or a stage or pooling is unknown.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        class_names: Sequence[str],
        stages: Sequence[str] | None = None,
        pool: str = "auto",
    ) -> None:
        super().__init__()
        if head.out_features != len(class_names):
            raise TransferkitError(f"The head gives {head.out_features} logits, for {len(class_names)} class names.")
        self.stages = backbone.match(stages or backbone.stage_names[-1:])
        # Only then does it give out the outputs of the last blocks.
        self.backbone = backbone.truncate(self.stages[-1]) if count_in_name(self.stages[-1]) else backbone
        self.head = head
        self.class_names = list(class_names)
        self.pool = backbone.pool_name(pool)

    @property
    def preprocess(self) -> Preprocessing:
        """The transform from a PIL image to an input tensor."""
        return self.backbone.preprocess

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of preprocessed images (N, 3, H, W)."""
        states = self.backbone.forward_stages(images, self.stages)
        pooled = [self.backbone.pooled(stage, feature(states[stage]), self.pool) for stage in self.stages]
        logits: Tensor = self.head(torch.cat(pooled, dim=1) if len(pooled) > 1 else pooled[0])
        return logits

    @torch.inference_mode()
    def predict(
        self, images: Iterable[ImageLike], batch_size: int = 32, names: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Classify images.

        Args:
            images: Paths, PIL images, or tensors: uint8 (C, H, W) is an image, floating point (3, H, W) must be
                preprocessed.
            batch_size: Number of images per forward pass.
            names: Of the images, for messages; paths need none.

        Raises:
            TransferkitError: an image cannot be read, or its probabilities are not finite; the message names it.
        """
        if isinstance(images, str | Path | Image.Image):
            images = [images]
        device = next(self.parameters()).device
        training = self.training
        self.eval()
        predictions: list[Prediction] = []
        for batch in _batches(images, batch_size):
            inputs = torch.stack([self._input(image) for image in batch]).to(device)
            computed = self(inputs).softmax(dim=1).cpu().numpy()
            done = len(predictions)
            check_finite(computed, names[done : done + len(batch)] if names else batch)
            for probabilities in computed:
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
        model: The model to write.
        dtype: Of the stored floating point weights; they are float32 again when read.
        notes: Further entries of `model.json`, e.g. the data set that the model was fitted to.

    Raises:
        TransferkitError: The model has adapters of LoRA, which are not yet part of its weights.
    """
    backbone = model.backbone
    if any(".lora_" in name for name in backbone.state_dict()):
        raise TransferkitError(
            "The model has adapters of LoRA beside its weights: call FinetuneModule.merge() before saving it."
        )
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
        "stages": model.stages,
        "pool": model.pool,
        "head": _describe_head(model.head),
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
    # Absolute, so that a folder called "imagenet" is not taken for the weights of that name.
    artifact = open_artifact(Path(run).expanduser().absolute())
    description = artifact.description
    network = description.backbone
    backbone = create_backbone(network.name, artifact.folder, network.source, kwargs=network.kwargs)
    backbone = backbone.truncate(description.stage)
    backbone.weights_name = network.weights or "random"
    head = _load_head(artifact)
    try:
        model = TransferModel(backbone, head, description.class_names, description.stages, description.pool)
    except TransferkitError as error:
        raise TransferkitError(f"{artifact.folder / METADATA_FILE} is damaged: {error}") from None
    return model.eval()


def _describe_head(head: Head) -> dict[str, Any]:
    """The metadata from which the head is rebuilt, without its tensors."""
    sizes = {"in_features": head.in_features, "num_classes": head.out_features}
    if isinstance(head, NeighborHead):
        return {"type": "neighbors", **sizes, "rows": len(head.gallery), "k": head.k, "metric": head.metric}
    return {"type": "linear", **sizes}


def _load_head(artifact: Artifact) -> Head:
    described = artifact.description.head
    tensors = artifact.tensors("head.")
    head: Head
    if isinstance(described, NeighborsPart):
        labels = tensors["labels"]
        if not 0 <= int(labels.min()) <= int(labels.max()) < described.num_classes:
            raise TransferkitError(f"{artifact.folder / METADATA_FILE} has no class for some labels of its head.")
        empty = torch.zeros(described.rows, described.in_features), torch.zeros(described.rows)
        head = NeighborHead(*empty, described.num_classes, described.k, described.metric)
    else:
        head = nn.Linear(described.in_features, described.num_classes)
    head.load_state_dict(tensors)
    return head


def check_finite(probabilities: npt.NDArray[np.float32], images: Sequence[Any]) -> None:
    """Refuse values that are not finite.

    Args:
        probabilities: (N, K) of N images.
        images: Their names, for the message.

    Raises:
        TransferkitError: A value is nan or infinite; the message names the first such image.
    """
    bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(bad):
        first = images[bad[0]]
        name = shown_text(str(first)) if isinstance(first, str | Path) else f"number {bad[0]}"
        raise TransferkitError(
            f"The model gives no finite probabilities (nan) for {len(bad)} of {len(probabilities)} images, the first "
            f"being {name}: its weights are damaged, or its training failed. Fit again."
        )
