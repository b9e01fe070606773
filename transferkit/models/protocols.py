"""The test protocols by their configuration name; `center` evaluates one view of each image."""

from collections.abc import Callable

import numpy as np
import torch

from transferkit.arrays import Features, Probabilities
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.features.extract import join_stages
from transferkit.features.from_settings import Extract
from transferkit.models.transfer_model import Head, TransferModel

Protocol = Callable[[TransferModel, ImageSet, Extract], Probabilities]


def get_protocol(name: str) -> Protocol:
    """Return the protocol called `name`.

    Raises:
        TransferkitError: It is unknown; the message lists the valid names.
    """
    if name not in PROTOCOLS:
        raise TransferkitError(f"protocol.name={name} is not known; the protocols are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def center_probabilities(model: TransferModel, images: ImageSet, extract: Extract) -> Probabilities:
    """Return the class probabilities (N, K) of `images`, resized and centre-cropped as the weights define it.

    Args:
        model: In eval mode.
        images: N images.
        extract: Computes the features of the model's stages; where it has a cache, they are computed once.
    """
    features = extract(model.backbone, images, model.stages, model.pool)
    return head_probabilities(model.head, join_stages(features, model.stages))


@torch.inference_mode()
def head_probabilities(head: Head, features: Features) -> Probabilities:
    """Return the soft-max (N, K) of the head's logits on pooled features (N, D)."""
    probabilities: Probabilities = head.cpu()(torch.from_numpy(np.array(features))).softmax(dim=1).numpy()
    return probabilities


PROTOCOLS: dict[str, Protocol] = {"center": center_probabilities}
