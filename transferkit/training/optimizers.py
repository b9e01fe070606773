"""Optimizers by name, torch's and timm's: the `optimizer` group as data."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn, optim
from torch.optim import Optimizer

from transferkit.config.schema import check_group
from transferkit.config.wording import no_such_choice
from transferkit.errors import TransferkitError

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
}
"""Name to torch's optimizer; its keys are in `config.optimizer_keys`."""


NOT_TIMMS = ("adahessian",)
"""Optimizers of timm's that need second derivatives, which a training step does not compute."""


def create_optimizer(parameters: nn.Module | Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Optimizer:
    """Create the optimizer of an `optimizer` group.

    Args:
        parameters: Groups as torch takes them; or a module, whose trainable parameters are taken, biases and the scales
            of norms without weight decay.
        settings: `name` and the arguments of torch's optimizer; or, with `source` "timm", of timm's, with further ones
            in `kwargs`. `lr_scale` is for callers that set rates by group.

    Raises:
        TransferkitError: An unknown name, or arguments that the optimizer refuses.
    """
    settings = check_group("optimizer", settings)
    arguments: dict[str, Any] = {key: value for key, value in settings.items() if key not in ("name", "lr_scale")}
    groups: Any = parameters
    if isinstance(parameters, nn.Module):
        from timm.optim import param_groups_weight_decay  # timm takes a second to import

        groups = param_groups_weight_decay(parameters, arguments.get("weight_decay", 0.0))
    check_timms_name(settings)
    try:
        if arguments.pop("source", None) == "timm":
            return _timms(groups, settings["name"], arguments)
        return OPTIMIZERS[settings["name"]](groups, **arguments)
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        raise TransferkitError(f"optimizer {settings['name']}: {error}") from error


def check_timms_name(settings: Mapping[str, Any]) -> None:
    """Raise a `TransferkitError` if an `optimizer` group names none of timm's optimizers though it should."""
    if settings.get("source") != "timm":
        return
    from timm.optim import list_optimizers

    known = [name for name in list_optimizers() if name not in NOT_TIMMS]
    if settings["name"].removeprefix("lookahead_") not in known:
        raise TransferkitError(no_such_choice("optimizer.name", settings["name"], known))


def _timms(groups: Any, name: str, arguments: Mapping[str, Any]) -> Optimizer:
    """The optimizer of timm's factory; its groups are as given, so that they keep their rates and weight decay."""
    from timm.optim import create_optimizer_v2

    given = {key: value for key, value in arguments.items() if key != "kwargs"}
    if "muon" in name:  # for the weights of hidden layers (Jordan 2024); the classifier gets AdamW
        groups = [{**group, "use_fallback": True} if _is_head(group) else group for group in groups]
    optimizer: Optimizer = create_optimizer_v2(
        groups, name, filter_bias_and_bn=False, **given, **arguments.get("kwargs", {})
    )
    return optimizer


def _is_head(group: Mapping[str, Any]) -> bool:
    return str(group.get("name", "")).split(",")[0] == "head"
