"""A fitted model: a backbone cut after a stage, pooling, and a head; a plain `nn.Module` that can predict."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from transferkit import __version__
from transferkit.arrays import Doubles
from transferkit.artifact import METADATA_FILE, Artifact, open_artifact, write_artifact
from transferkit.artifact_schema import NeighborsPart
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.create import create_backbone
from transferkit.backbones.last_blocks import count_in_name
from transferkit.backbones.stage_sequence import feature
from transferkit.data.images import decode
from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError, shown_text
from transferkit.models.conformal import bound_for, class_set
from transferkit.models.known_images import KnownImages
from transferkit.probes.neighbors import NeighborHead
from transferkit.targets.target import Target
from transferkit.targets.target_kinds import as_target, make_target

ImageLike = str | Path | Image.Image | Tensor
Head = nn.Linear | NeighborHead


class TransferModel(nn.Module):
    """A backbone, pooling of the features of one or several of its stages, and a head on them.

    Args:
        backbone: The network; stages after the last one of `stages` do not run.
        head: Maps pooled features (N, D) to logits (N, K); features of several stages are concatenated.
        class_names: The K names, in the order of the logits; or the target of a model that predicts something else.
        stages: Names (or patterns) of the stages whose features the head takes; by default the backbone's last.
        pool: How features are pooled, as in `extract_features`.

    Attributes:
        stages: The names, in the order of the network.
        target: What is predicted: a class, several labels, numbers, an ordered class.
        class_names: The names of the classes, labels or values.
        preprocess: Turns a PIL image into the input tensor (3, H, W).
        known: Tells images that are like those of the training set from others; None where nothing was held out.
        held_out_scores: Ascending scores (n,) of held-out images, for sets of classes (`models.conformal`).

    Raises:
        TransferkitError: The head does not match the names, or a stage or pooling is unknown.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        class_names: Sequence[str] | Target,
        stages: Sequence[str] | None = None,
        pool: str = "auto",
    ) -> None:
        super().__init__()
        self.target = as_target(class_names)
        if head.out_features != self.target.width:
            raise TransferkitError(
                f"The head gives {head.out_features} logits, for {len(self.target.names)} class names."
            )
        self.stages = backbone.match(stages or backbone.stage_names[-1:])
        # Only then does it give out the outputs of the last blocks.
        self.backbone = backbone.truncate(self.stages[-1]) if count_in_name(self.stages[-1]) else backbone
        self.head = head
        self.class_names = list(self.target.names)
        self.pool = backbone.pool_name(pool)
        self.known: KnownImages | None = None
        self.held_out_scores: Doubles | None = None

    @property
    def preprocess(self) -> Preprocessing:
        """The transform from a PIL image to an input tensor."""
        return self.backbone.preprocess

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of preprocessed images (N, 3, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Return the features (N, D) that the head takes, of preprocessed images (N, 3, H, W)."""
        states = self.backbone.forward_stages(images, self.stages)
        pooled = [self.backbone.pooled(stage, feature(states[stage]), self.pool) for stage in self.stages]
        return torch.cat(pooled, dim=1) if len(pooled) > 1 else pooled[0]

    @torch.inference_mode()
    def predict(
        self,
        images: Iterable[ImageLike],
        batch_size: int = 32,
        names: Sequence[str] | None = None,
        coverage: float | None = None,
    ) -> list[Any]:
        """Predict the target of images.

        Args:
            images: Paths, PIL images, or tensors: uint8 (C, H, W) is an image, floating point (3, H, W) must be
                preprocessed.
            batch_size: Number of images per forward pass.
            names: Of the images, for messages; paths need none.
            coverage: Probability that the set of classes holds the true one; by default there are no sets.

        Returns:
            Of each image a `Prediction`; a `LabelsPrediction` or `ValuesPrediction` of several labels or numbers.

        Raises:
            TransferkitError: An image cannot be read, or its probabilities are not finite (the message names it); or
                the model has no scores for sets.
        """
        if isinstance(images, str | Path | Image.Image):
            images = [images]
        least = None if coverage is None else bound_for(self.target, self.held_out_scores, coverage)
        device = next(self.parameters()).device
        training = self.training
        self.eval()
        predictions: list[Any] = []
        for batch in in_batches(images, batch_size):
            inputs = torch.stack([self._input(image) for image in batch]).to(device)
            features = self.features(inputs)
            computed = self.target.outputs(self.head(features)).cpu().numpy()
            done = len(predictions)
            check_finite(computed, names[done : done + len(batch)] if names else batch)
            distances = self._distances(features, len(batch))
            predictions += [self._prediction(*row, least) for row in zip(computed, distances, strict=True)]
        self.train(training)
        return predictions

    def _distances(self, features: Tensor, images: int) -> list[float | None]:
        """The distance of each image's features of the last stage."""
        if self.known is None:
            return [None] * images
        found: list[float | None] = self.known(features[:, -self.known.rows.shape[1] :]).tolist()
        return found

    def _prediction(self, outputs: npt.NDArray[np.float32], distance: float | None, least: float | None) -> Any:
        known = None if distance is None or self.known is None else distance <= self.known.threshold
        return prediction_of(self.target, outputs, known, distance, least)

    def _input(self, image: ImageLike) -> Tensor:
        if isinstance(image, Tensor) and image.is_floating_point():
            return image
        return self.preprocess(decode(to_pil_image(image) if isinstance(image, Tensor) else image))


def prediction_of(
    target: Target,
    outputs: npt.NDArray[np.float32],
    known: bool | None,
    distance: float | None,
    least: float | None,
) -> Any:
    """Return the prediction for one image.

    Args:
        target: Of the model.
        outputs: (K,).
        known: Whether the image is like the training images; None where that was not judged.
        distance: From the nearest of them.
        least: From `conformal.bound_for`, for a set of classes; None for no set.
    """
    found = target.answer(outputs)._replace(known=known, distance=distance)
    if least is None:
        return found
    return found._replace(classes=tuple(target.names[k] for k in class_set(outputs, least)))


def in_batches(images: Iterable[ImageLike], size: int) -> Iterator[list[ImageLike]]:
    """Yield lists of at most `size` images."""
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
    tensors |= held_out_tensors(model)
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
        **_describe_held_out(model),
        "class_names": model.class_names,
        **({} if model.target.kind == "class" else {"target": model.target.describe()}),
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
    described = description.target
    try:
        target = make_target(description.class_names, described.model_dump() if described else None)
        model = TransferModel(backbone, head, target, description.stages, description.pool)
    except TransferkitError as error:
        raise TransferkitError(f"{artifact.folder / METADATA_FILE} is damaged: {error}") from None
    _load_held_out(artifact, model)
    return model.eval()


def held_out_tensors(model: TransferModel) -> dict[str, Tensor]:
    """Return the tensors from held-out images by their names in the artifact."""
    known, scores = model.known, model.held_out_scores
    return {
        **({} if known is None else {"known.rows": known.rows}),
        **({} if scores is None else {"held_out.scores": torch.from_numpy(scores).float()}),
    }


def _describe_held_out(model: TransferModel) -> dict[str, Any]:
    known, scores = model.known, model.held_out_scores
    found: dict[str, Any] = {} if scores is None else {"held_out_scores": len(scores)}
    if known is not None:
        rows, width = known.rows.shape
        found["known"] = {"rows": rows, "in_features": width, "threshold": known.threshold}
    return found


def _load_held_out(artifact: Artifact, model: TransferModel) -> None:
    """Give the model what the artifact has from held-out images."""
    known = artifact.description.known
    if known is not None:
        if known.in_features > model.head.in_features:
            raise TransferkitError(f"{artifact.folder / METADATA_FILE} is damaged: known has more features than head.")
        model.known = KnownImages(artifact.tensors("known.")["rows"], known.threshold)
    if artifact.description.held_out_scores is not None:
        model.held_out_scores = artifact.tensors("held_out.")["scores"].double().numpy()


def _describe_head(head: Head) -> dict[str, Any]:
    """The metadata from which the head is rebuilt, without its tensors."""
    sizes = {"in_features": head.in_features, "num_classes": head.out_features}
    if isinstance(head, NeighborHead):
        named = {"rows": len(head.gallery), "k": head.k, "metric": head.metric, "temperature": head.temperature}
        return {"type": "neighbors", **sizes, **named}
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
        k, metric, temperature = described.k, described.metric, described.temperature
        head = NeighborHead(*empty, described.num_classes, k, metric, temperature=temperature)
    else:
        head = nn.Linear(described.in_features, described.num_classes)
    head.load_state_dict(tensors)
    return head


def check_finite(outputs: npt.NDArray[np.float32], images: Sequence[Any]) -> None:
    """Refuse values that are not finite.

    Args:
        outputs: (N, K) of N images.
        images: Their names, for the message.

    Raises:
        TransferkitError: A value is nan or infinite; the message names the first such image.
    """
    bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    if len(bad):
        first = images[bad[0]]
        name = shown_text(str(first)) if isinstance(first, str | Path) else f"number {bad[0]}"
        raise TransferkitError(
            f"The model gives no finite probabilities (nan) for {len(bad)} of {len(outputs)} images, the first "
            f"being {name}: its weights are damaged, or its training failed. Fit again."
        )
