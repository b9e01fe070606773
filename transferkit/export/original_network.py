"""The original network with the model's head as its own classifier, where the two take the same features."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from transferkit.backbones.create import network_source
from transferkit.errors import TransferkitError
from transferkit.export.agreement import largest_difference, network_predict
from transferkit.export.exported import Exporting


def original_network(exporting: Exporting, form: str) -> tuple[nn.Module, dict[str, Any], float]:
    """Build the original network with the model's weights, and compare what both predict.

    Args:
        exporting: The model.
        form: The format that needs it, for messages.

    Returns:
        The network, the keyword arguments that build it, and the largest difference of a probability.

    Raises:
        TransferkitError: The head is not the usual one: not linear, or on other features than the network's own
            classifier takes.
    """
    model = exporting.network.model
    spec, backbone = model.backbone.spec, model.backbone.truncate(model.stages[-1])
    head = model.head
    if not isinstance(head, nn.Linear):
        raise _unusual(form, f"the head is {type(head).__name__}, not a linear layer")
    if len(model.stages) > 1:
        raise _unusual(form, f"the head takes the features of {', '.join(model.stages)}")
    kwargs = {**spec.kwargs, "num_classes": head.out_features}
    _, source = network_source(spec.source, spec.name)
    try:
        network = source.build(spec.name, None, kwargs).model.eval()
    except TransferkitError as error:
        raise _unusual(form, f"{spec.name} has no classifier of another number of classes: {error}") from error
    state = backbone.original_state_dict()
    classifier = _classifier(network.state_dict(), state, form, model.stages[-1])
    network.load_state_dict({**state, f"{classifier}.weight": head.weight, f"{classifier}.bias": head.bias})
    try:
        difference = largest_difference(exporting.compared, network_predict(network, model.target), spec.name)
    except TransferkitError as error:
        reason = f"pooling {model.pool} of {model.stages[-1]} is not the input of the network's own classifier"
        raise _unusual(form, reason) from error
    return network, kwargs, difference


def _classifier(whole: Mapping[str, Tensor], given: Mapping[str, Tensor], form: str, stage: str) -> str:
    """The name of the layer of the original network that the backbone lacks.

    Raises:
        TransferkitError: The backbone lacks something else.
    """
    lacking = sorted(set(whole) - set(given))
    name = lacking[0].removesuffix(".bias") if lacking else ""
    if set(given) - set(whole) or lacking != [f"{name}.bias", f"{name}.weight"]:
        raise _unusual(form, f"the head takes {stage}, after which the network has more than a linear classifier")
    return name


def _unusual(form: str, reason: str) -> TransferkitError:
    return TransferkitError(
        f"export.format={form} is for models whose head stands in place of the original network's classifier; here "
        f"{reason}. export.format=onnx and torch_export write any model."
    )
