"""Several fitted models as one: the mean of their outputs (Lakshminarayanan et al. 2017)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from transferkit.arrays import Doubles, Probabilities
from transferkit.data.images import decode
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.ensemble_artifact import is_ensemble, open_ensemble
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import Extract
from transferkit.models.conformal import bound_for
from transferkit.models.protocols import ProtocolResult, run_protocols
from transferkit.models.transfer_model import ImageLike, TransferModel, in_batches, prediction_of
from transferkit.models.transfer_model import load_model as load_one


class EnsembleModel(nn.Module):
    """Models of the same target, whose outputs are averaged: probabilities or numbers; their networks may differ.

    Args:
        members: The models.
        held_out_scores: Ascending scores (n,) of held-out images, for sets of classes.
        shares: Of the members in the mean; None for equal ones.

    Attributes:
        class_names: The K names of classes, labels or values, in the order of the outputs.
        target: Of the first member; of numbers, others may have another scale.
        shares: Of the members (M,); their sum is one.

    Raises:
        TransferkitError: The members have different classes, or targets of different kinds.
    """

    def __init__(
        self,
        members: Sequence[TransferModel],
        held_out_scores: Doubles | None = None,
        shares: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.class_names, self.target = members[0].class_names, members[0].target
        if other := next((member for member in members if member.target.kind != self.target.kind), None):
            raise TransferkitError(
                f"The members of an ensemble need one target: one predicts {self.target.words()}, another "
                f"{other.target.words()}."
            )
        if any(member.class_names != self.class_names for member in members):
            raise TransferkitError("The members of an ensemble need the same classes, in the same order.")
        self.members = nn.ModuleList(members)
        self.held_out_scores = held_out_scores
        self.shares = normalized(shares, len(members))

    @property
    def models(self) -> list[TransferModel]:
        """The members."""
        return [member for member in self.members if isinstance(member, TransferModel)]

    @property
    def known(self) -> bool | None:
        """True where every member tells known images from others; else None."""
        return all(member.known is not None for member in self.models) or None

    @property
    def preprocess(self) -> Preprocessing:
        """The transform from a PIL image to an input tensor.

        Raises:
            TransferkitError: The members have different ones.
        """
        first = self.models[0].preprocess
        if any(member.preprocess != first for member in self.models):
            raise TransferkitError("The members preprocess images differently: give predict() images, not tensors.")
        return first

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, T) of preprocessed images (N, 3, H, W), whose outputs are the mean ones of the members."""
        _ = self.preprocess  # the same for all
        each = torch.stack([member.target.outputs(member(images)) for member in self.models])
        shares = torch.as_tensor(self.shares, dtype=each.dtype, device=each.device)
        return self.target.logits(torch.einsum("m,mnk->nk", shares, each))

    @torch.inference_mode()
    def predict(
        self,
        images: Iterable[ImageLike],
        batch_size: int = 32,
        names: Sequence[str] | None = None,
        coverage: float | None = None,
    ) -> list[Any]:
        """Predict the target of images; arguments and predictions are those of `TransferModel.predict`.

        An image is known if members with at least half of the shares say so; the distance is the mean of theirs.

        Raises:
            TransferkitError: As `TransferModel.predict`; or preprocessed tensors were given and the members preprocess
                images differently.
        """
        if isinstance(images, str | Path | Image.Image):
            images = [images]
        least = None if coverage is None else bound_for(self.target, self.held_out_scores, coverage)
        found: list[Any] = []
        for batch in in_batches(images, batch_size):
            decoded = [self._decoded(image) for image in batch]
            named = names[len(found) : len(found) + len(batch)] if names else None
            each = [member.predict(decoded, batch_size, named) for member in self.models]
            found += [self._combined(predictions, least) for predictions in zip(*each, strict=True)]
        return found

    def _decoded(self, image: ImageLike) -> ImageLike:
        if isinstance(image, Tensor) and image.is_floating_point():
            _ = self.preprocess  # the same for all
            return image
        return decode(to_pil_image(image) if isinstance(image, Tensor) else image)

    def _combined(self, predictions: Sequence[Any], least: float | None) -> Any:
        mean = mean_of([self.target.outputs_of(one) for one in predictions], self.shares)
        known, distance = None, None
        if self.known:
            known = bool(np.dot(self.shares, [bool(one.known) for one in predictions]) >= 0.5 - 1e-9)
            distance = float(np.dot(self.shares, [one.distance or 0.0 for one in predictions]))
        return prediction_of(self.target, mean, known, distance, least)


def load_model(run: str | Path) -> TransferModel | Any:
    """Return the model of a run directory, or its `EnsembleModel`, in eval mode, on the CPU.

    The type is that of one model, which most run directories hold; an ensemble has no `backbone` of its own.

    Raises:
        TransferkitError: `run` holds no artifact, or a damaged one.
    """
    folder = Path(run).expanduser().absolute()
    if not is_ensemble(folder):
        return load_one(folder)
    description, _, artifacts = open_ensemble(folder)
    scores = description.held_out_scores
    members = [load_one(artifact.folder) for artifact in artifacts]
    kept = None if scores is None else np.array(scores, dtype=np.float64)
    return EnsembleModel(members, kept, description.shares).eval()


def run_all_protocols(
    settings: Mapping[str, Any], model: "TransferModel | EnsembleModel", images: ImageSet, extract: Extract
) -> dict[str, ProtocolResult]:
    """Return the results of the configured protocols for a model, or the mean over the members of an ensemble."""
    if isinstance(model, TransferModel):
        return run_protocols(settings, model, images, extract)
    return mean_results([run_protocols(settings, member, images, extract) for member in model.models], model.shares)


def normalized(shares: Sequence[float] | None, members: int) -> Doubles:
    """Return the shares (M,) of the members with the sum one; equal ones where none are given."""
    given = np.ones(members) if shares is None else np.asarray(shares, dtype=np.float64)
    return np.asarray(given / given.sum())


def mean_of(each: Sequence[Probabilities], shares: Doubles) -> Probabilities:
    """Return the mean of the members' probabilities, weighted by their shares (M,)."""
    mean: Probabilities = np.average(np.stack(each), axis=0, weights=shares).astype(each[0].dtype)
    return mean


def mean_results(
    each: Sequence[Mapping[str, ProtocolResult]], shares: Doubles | None = None
) -> dict[str, ProtocolResult]:
    """Return, by protocol, the mean probabilities of several models, and the sum of views and seconds."""
    found, weights = {}, normalized(None, len(each)) if shares is None else shares
    for name in each[0]:
        results = [one[name] for one in each]
        mean = mean_of([result.probabilities for result in results], weights)
        found[name] = ProtocolResult(mean, sum(r.views for r in results), sum(r.seconds for r in results))
    return found
