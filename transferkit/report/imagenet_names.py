"""The ImageNet class that the backbone's own classifier gives most often to each class of the data, without training.

It is applied to the pooled features that a probe computes anyway.
"""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import Extract
from transferkit.models.transfer_model import TransferModel

MOST = 5000
"""Images that are classified at most, evenly spaced over the split."""

Classifier = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ImageNetName:
    """The most frequent ImageNet class of the images of one class.

    Attributes:
        name: Of ImageNet's class.
        count: Images of the class that were given this name.
        images: Images of the class that were classified.
    """

    name: str
    count: int
    images: int


def find_imagenet_names(
    backbone: Backbone, model: TransferModel, probed: Collection[str], data: ImageData, extract: Extract
) -> dict[str, dict[str, Any]]:
    """Name the classes of the data as the backbone's ImageNet classifier does, on held-out images.

    Args:
        backbone: With its classifier.
        model: Fitted on its features.
        probed: The stages whose features of val were computed for the choice, "stage4+stage5" for a joint probe.
        data: Test images are classified if the model takes the features of the last stage, else those of val.
        extract: Finds the features in the cache.

    Returns:
        Class to the fields of `ImageNetName`; empty unless the backbone has an ImageNet-1k classifier, its weights are
        as loaded, and features pooled as the classifier takes them were computed. Classes without images are left out.
    """
    top = backbone.top
    known = backbone.classes and backbone.as_loaded(top) and model.pool == backbone.pool_name("auto")
    classify = source_classifier(backbone) if known and data.target.exclusive else None
    if classify is None:
        return {}
    if top in model.stages:
        images = data.test
    elif any(top in name.split("+") for name in probed):
        images = data.val
    else:
        return {}
    if len(images) > MOST:
        images = images.subset(np.linspace(0, len(images) - 1, MOST).astype(np.int64))
    features = torch.from_numpy(np.array(extract(backbone, images, [top])[top]))
    with torch.inference_mode():
        given = classify(features.to(_device(backbone.stages["head"]))).argmax(dim=1).cpu().numpy()
    names = {}
    for index, name in enumerate(data.class_names):
        mine = given[images.labels == index]
        if len(mine):
            counts = np.bincount(mine)
            best = int(counts.argmax())
            names[name] = asdict(ImageNetName(backbone.classes[best], int(counts[best]), len(mine)))
    return names


def source_classifier(backbone: Backbone) -> Classifier | None:
    """The backbone's own classifier as a function of pooled features (N, D), on the backbone's device.

    Returns:
        None if there is none, or one that gives something else for pooled features: SqueezeNet's is a convolution with
        a ReLU before the mean, a distilled DeiT has two.
    """
    if "head" not in backbone.stages:
        return None
    head, info = backbone.stages["head"], backbone.infos[backbone.top]
    linear = [module for module in head.modules() if isinstance(module, nn.Linear)]
    classify: Classifier
    if info.kind == "map":
        classify = _on_a_map_of_one(head)
    elif linear and linear[-1].in_features == backbone.width(backbone.top):
        classify = linear[-1]
    else:
        return None
    if info.grid is None:
        return classify if len(linear) == 1 else None
    positions = info.grid if info.kind == "map" else (info.prefix_tokens + info.grid[0] * info.grid[1],)
    shape = (2, info.channels, *positions) if info.kind == "map" else (2, *positions, info.channels)
    example = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(_device(head))
    with torch.inference_mode():
        same = torch.allclose(classify(backbone.pooled(backbone.top, example)), head(example), rtol=1e-3, atol=1e-4)
    return classify if same else None


def _on_a_map_of_one(head: nn.Module) -> Classifier:
    def classify(pooled: Tensor) -> Tensor:
        logits: Tensor = head(pooled[:, :, None, None])
        return logits

    return classify


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
