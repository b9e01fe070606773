"""Optimizers and learning-rate schedules, by name: the `optimizer` and `schedule` groups as data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn, optim
from torch.optim import Optimizer, lr_scheduler

from transferkit.config.schema import check_group
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


def create_optimizer(parameters: nn.Module | Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Optimizer:
    """Create the optimizer of an `optimizer` group.

    Args:
        parameters: Groups as torch takes them; or a module, whose trainable parameters are taken, biases and the scales
            of norms without weight decay.
        settings: `name` and the arguments of torch's optimizer. `lr_scale` is for callers that set rates by group.

    Raises:
        TransferkitError: An unknown name, or arguments that the optimizer refuses.
    """
    settings = check_group("optimizer", settings)
    kind = OPTIMIZERS[settings["name"]]
    arguments: dict[str, Any] = {key: value for key, value in settings.items() if key not in ("name", "lr_scale")}
    groups: Any = parameters
    if isinstance(parameters, nn.Module):
        from timm.optim import param_groups_weight_decay  # timm takes a second to import

        groups = param_groups_weight_decay(parameters, arguments.get("weight_decay", 0.0))
    try:
        return kind(groups, **arguments)
    except (TypeError, ValueError) as error:
        raise TransferkitError(f"optimizer {settings['name']}: {error}") from error


def create_schedule(
    optimizer: Optimizer, settings: Mapping[str, Any], epochs: int, steps_per_epoch: int
) -> dict[str, Any] | None:
    """Create the schedule of a `schedule` group, in the form of Lightning's `configure_optimizers`.

    Args:
        optimizer: The schedule multiplies the learning rates of its groups.
        settings: `name`, `warmup` (fraction of all steps in which the rates rise linearly from almost zero), and the
            keys of that schedule.
        epochs: Of the whole training.
        steps_per_epoch: Optimizer steps in one.

    Returns:
        None for constant rates.

    Raises:
        TransferkitError: An unknown name or key, or a value that cannot be used.
    """
    settings = check_group("schedule", settings)
    build, warmup = SCHEDULES[settings["name"]], settings["warmup"]
    keys = {key: value for key, value in settings.items() if key not in ("name", "warmup")}
    if settings["name"] == "plateau":
        return {"scheduler": build(optimizer, epochs, **keys), "interval": "epoch", "monitor": "val_loss"}
    steps = max(epochs * steps_per_epoch, 1)
    if settings["name"] == "one_cycle":
        return {"scheduler": build(optimizer, steps, warmup), "interval": "step"}
    rising = round(warmup * steps)
    main = build(optimizer, max(steps - rising, 1), **keys)
    if main is None and not rising:
        return None
    return {"scheduler": _after_warmup(optimizer, main, rising), "interval": "step"}


def _after_warmup(optimizer: Optimizer, main: Any, rising: int) -> Any:
    if not rising:
        return main
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    return rise if main is None else lr_scheduler.SequentialLR(optimizer, [rise, main], milestones=[rising])


def _constant(optimizer: Optimizer, steps: int) -> None:
    return None


def _cosine(optimizer: Optimizer, steps: int, final_lr: float = 0.0) -> Any:
    """Cosine decay to `final_lr` (Loshchilov & Hutter 2017, SGDR, without restarts)."""
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=final_lr)


def _one_cycle(optimizer: Optimizer, steps: int, warmup: float) -> Any:
    """Rates from a 25th to the maximum, then to zero, along cosines; momentum falls and rises in turn (Smith 2018)."""
    rates = [group["lr"] for group in optimizer.param_groups]
    cycles = "betas" in optimizer.defaults or bool(optimizer.defaults.get("momentum"))
    return lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=warmup, cycle_momentum=cycles)


def _cosine_restarts(optimizer: Optimizer, steps: int, cycles: int = 4, final_lr: float = 0.0) -> Any:
    """Cosine decay with warm restarts, in `cycles` of equal length (Loshchilov & Hutter 2017, section 3)."""
    return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=max(-(-steps // cycles), 1), eta_min=final_lr)


def _step(optimizer: Optimizer, steps: int, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1) -> Any:
    """Multiplied by `gamma` at each of the milestones, which are fractions of the training."""
    return lr_scheduler.MultiStepLR(optimizer, [round(part * steps) for part in milestones], gamma)


def _plateau(optimizer: Optimizer, steps: int, factor: float = 0.1, patience: int = 3) -> Any:
    """Multiplied by `factor` when the loss on val has not fallen for more than `patience` epochs."""
    return lr_scheduler.ReduceLROnPlateau(optimizer, "min", factor, patience)


SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "cosine_restarts": _cosine_restarts,
    "step": _step,
    "plateau": _plateau,
}
"""Name to the function that builds torch's schedule; its keys are in `config.schedule_keys`."""
