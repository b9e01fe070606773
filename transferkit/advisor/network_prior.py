"""The expectation of a network before it is tried: the published accuracy of its weights on ImageNet, else its size."""

from transferkit.backbones.backbone import Backbone


def published_top1(backbone: Backbone) -> float | None:
    """Top-1 accuracy on ImageNet-1k, in [0, 1], that is published for the weights that a network has.

    torchvision's are in the metadata of its weights. None for other networks and for weights from a file.
    """
    if backbone.spec.source != "torchvision":
        return None
    import torchvision

    entries = torchvision.models.get_model_weights(backbone.spec.name).__members__
    metrics = entries[backbone.weights_name].meta["_metrics"] if backbone.weights_name in entries else {}
    percent = metrics.get("ImageNet-1K", {}).get("acc@1")
    return None if percent is None else percent / 100


def prior_rank(published: float | None, parameters: int) -> tuple[float, int]:
    """Return a sort key; the network that is expected to be best has the largest.

    By published accuracy; networks without come after those with one, by their number of parameters.
    """
    return (-1.0 if published is None else published), parameters
