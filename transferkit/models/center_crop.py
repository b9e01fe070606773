"""One view an image: resized and centre-cropped as the backbone's weights define it."""

import numpy as np
import numpy.typing as npt
import torch

from transferkit.data.imageset import ImageSet
from transferkit.features.extract import join_stages
from transferkit.features.from_settings import Extract
from transferkit.models.transfer_model import Head, TransferModel


def center_probabilities(model: TransferModel, images: ImageSet, extract: Extract) -> npt.NDArray[np.float32]:
    """Return the class probabilities (N, K) of `images`.

    Args:
        model: In eval mode.
        images: N images.
        extract: Computes the features of the model's stages; where it has a cache, they are computed once.
    """
    features = extract(model.backbone, images, model.stages, model.pool)
    return head_probabilities(model.head, join_stages(features, model.stages))


@torch.inference_mode()
def head_probabilities(head: Head, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the soft-max (N, K) of the head's logits on pooled features (N, D)."""
    probabilities: npt.NDArray[np.float32] = head.cpu()(torch.from_numpy(np.array(features))).softmax(dim=1).numpy()
    return probabilities
