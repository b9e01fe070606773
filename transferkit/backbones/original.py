"""An original network, as built by its library, before it is cut."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from transferkit.data.preprocess import Preprocessing
from transferkit.errors import TransferkitError

RESERVED = (
    *("pretrained", "weights", "progress", "checkpoint_path", "pretrained_cfg"),
    *("features_only", "in_chans", "in_channels"),
)


@dataclass(frozen=True)
class Original:
    """A network with the metadata of its weights.

    Attributes:
        model: The network; random, or with its weights already loaded if `state` is None.
        preprocess: As the weights define it.
        weights_name: For reports.
        state: Weights to be loaded, under the network's own names.
        origin: Where `state` comes from, for messages.
        kwargs: Keyword arguments for building the network that the weights require.
        classes: Names of ImageNet-1k's classes, if they are known to be the classifier's outputs.
        depths: Parameter to the number of layers above it, the classifier being 0, if the library tells.
    """

    model: nn.Module
    preprocess: Preprocessing
    weights_name: str = "random"
    state: Mapping[str, Tensor] | None = None
    origin: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    classes: Sequence[str] = ()
    depths: Mapping[str, int] = field(default_factory=dict)


def check_kwargs(kwargs: Mapping[str, Any]) -> None:
    """Refuse keyword arguments that this library sets itself.

    Raises:
        TransferkitError: Naming them.
    """
    reserved = sorted(set(kwargs) & set(RESERVED))
    if reserved:
        raise TransferkitError(
            f"backbone.kwargs: {', '.join(reserved)} cannot be set here. Weights are chosen with backbone.weights, "
            "stages with the strategy, and images are always RGB."
        )


def built(builders: Mapping[str, Callable[..., nn.Module]], name: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """A network of this package.

    Args:
        builders: Name to what builds the network.
        name: One of them.
        kwargs: For it.

    Raises:
        TransferkitError: If it refuses the keyword arguments.
    """
    try:
        return builders[name](**kwargs)
    except (TypeError, ValueError) as error:
        raise TransferkitError(f"backbone.kwargs: {name} refuses {dict(kwargs)}: {error}.") from error


def refused_size(name: str, size: Sequence[int], usual: Sequence[int], reason: str) -> TransferkitError:
    """The error about an input size for which a network cannot be built."""
    wanted, known = (" x ".join(map(str, sides)) for sides in (size, usual))
    return TransferkitError(
        f"backbone.input_size: {name} cannot be built for {wanted} pixels ({reason}). It takes {known}; transformers "
        "also take multiples of their patch size, some of patch size times window size."
    )


class no_init(TorchFunctionMode):
    """Context in which networks are built without initialising their parameters, which saves two seconds for a VGG."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
