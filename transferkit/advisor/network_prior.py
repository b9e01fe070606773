"""The expectation of a network before it is tried: the published accuracy of its weights on ImageNet, else its size."""

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.imagenet_accuracy import published_accuracy, timm_table
from transferkit.backbones.packaged_weights import PACKAGES


def published_top1(backbone: Backbone) -> float | None:
    """Top-1 accuracy on ImageNet-1k, in [0, 1], that is published for the weights that a network has.

    torchvision's are in the metadata of its weights, timm's in the table of its validation results. None for other
    networks and for weights from a file.
    """
    name, weights = backbone.spec.name, backbone.weights_name
    if weights == "random":
        return None
    if backbone.spec.source == "torchvision":
        percent = _of_torchvision(name, weights)
    elif backbone.spec.source == "timm":
        percent = _of_timm(name, weights, backbone.preprocess.input_size[0])
    else:
        percent = None
    return None if percent is None else percent / 100


def _of_torchvision(name: str, weights: str) -> float | None:
    import torchvision

    entries = torchvision.models.get_model_weights(name).__members__
    metrics = entries[weights].meta["_metrics"] if weights in entries else {}
    percent: float | None = metrics.get("ImageNet-1K", {}).get("acc@1")
    return percent


def _of_timm(name: str, weights: str, size: int) -> float | None:
    """Of weights called by their tag, or of a package; where there are several sizes, the nearest one counts."""
    if weights in PACKAGES:
        found = published_accuracy("timm", name, size)
        return found.top1 if found else None
    rows = timm_table().get(f"{name.partition('.')[0]}.{weights}", [])
    return min(rows, key=lambda row: abs(row.size - size)).top1 if rows else None


def prior_rank(published: float | None, parameters: int) -> tuple[float, int]:
    """Return a sort key; the network that is expected to be best has the largest.

    By published accuracy; networks without come after those with one, by their number of parameters.
    """
    return (-1.0 if published is None else published), parameters
