"""Learning-rate schedules by name: the `schedule` group as data, with a warm-up, and a constant end for SWA."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.swa_utils import SWALR

from transferkit.config.schema import check_group


def create_schedules(
    optimizer: Optimizer, settings: Mapping[str, Any], epochs: int, steps_per_epoch: int
) -> list[dict[str, Any]]:
    """Create the schedule of a `schedule` group, in the form of Lightning's `configure_optimizers`.

    Args:
        optimizer: The schedule multiplies the learning rates of its groups.
        settings: `name`, `warmup` (fraction of all steps in which the rates rise linearly from almost zero; momentum
            stays as it is, except in `one_cycle`), and the keys of that schedule.
        epochs: Of the whole training.
        steps_per_epoch: Optimizer steps in one.

    Returns:
        Empty for constant rates; two where one goes by steps, the other by epochs (`plateau` with a warm-up).

    Raises:
        TransferkitError: An unknown name or key, or a value that cannot be used.
    """
    settings = check_group("schedule", settings)
    build, warmup = SCHEDULES[settings["name"]], settings["warmup"]
    keys = {key: value for key, value in settings.items() if key not in ("name", "warmup")}
    steps = max(epochs * steps_per_epoch, 1)
    if settings["name"] == "one_cycle":
        return [{"scheduler": build(optimizer, steps, warmup, **keys), "interval": "step"}]
    rising = round(warmup * steps)
    if settings["name"] == "plateau":
        rise = [{"scheduler": _rise(optimizer, rising), "interval": "step"}] if rising else []
        falling = build(optimizer, epochs, **keys)
        return [*rise, {"scheduler": falling, "interval": "epoch", "monitor": "val_loss"}]
    main = build(optimizer, max(steps - rising, 1), **keys)
    if main is None and not rising:
        return []
    return [{"scheduler": _after_warmup(optimizer, main, rising), "interval": "step"}]


def constant_end(optimizer: Optimizer, factor: float, steps: int) -> dict[str, Any]:
    """The last part of a training with averaged weights: rates go to a constant (Izmailov et al. 2018, section 3).

    Args:
        optimizer: The present rates of its groups are the full ones, of which the constant ones are a fraction.
        factor: That fraction.
        steps: In which the rates at the beginning of the part change to the constant ones.
    """
    rates: Any = [factor * group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    return {"scheduler": SWALR(optimizer, rates, anneal_epochs=steps), "interval": "step"}


def _rise(optimizer: Optimizer, steps: int) -> lr_scheduler.LinearLR:
    return lr_scheduler.LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)


def _after_warmup(optimizer: Optimizer, main: Any, rising: int) -> Any:
    if not rising:
        return main
    rise = _rise(optimizer, rising)
    return rise if main is None else lr_scheduler.SequentialLR(optimizer, [rise, main], milestones=[rising])


def _constant(optimizer: Optimizer, steps: int) -> None:
    return None


def _linear(optimizer: Optimizer, steps: int, final_lr: float = 0.0) -> Any:
    """A straight line to `final_lr`."""

    def line(full: float) -> Callable[[int], float]:
        return lambda step: 1 + (final_lr / full - 1) * min(step / steps, 1)

    rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    return lr_scheduler.LambdaLR(optimizer, [line(rate) for rate in rates])


def _cosine(optimizer: Optimizer, steps: int, final_lr: float = 0.0) -> Any:
    """Cosine decay to `final_lr` (Loshchilov & Hutter 2017, SGDR, without restarts)."""
    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=final_lr)


def _one_cycle(optimizer: Optimizer, steps: int, warmup: float, cycle_momentum: bool = True) -> Any:
    """Rates from a 25th to the maximum, then to zero, along cosines; momentum falls and rises in turn (Smith 2018)."""
    rates = [group["lr"] for group in optimizer.param_groups]
    has_momentum = "betas" in optimizer.defaults or bool(optimizer.defaults.get("momentum"))
    cycles = cycle_momentum and has_momentum
    return lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=warmup, cycle_momentum=cycles)


def _cosine_restarts(optimizer: Optimizer, steps: int, cycles: int = 4, growth: int = 1, final_lr: float = 0.0) -> Any:
    """Cosine decay with warm restarts: `cycles`, each `growth` times as long (Loshchilov & Hutter 2017, section 3)."""
    first = _first_cycle(steps, cycles, growth)
    return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=first, T_mult=growth, eta_min=final_lr)


def _first_cycle(steps: int, cycles: int, growth: int) -> int:
    parts = sum(int(growth**cycle) for cycle in range(cycles))
    return max(-(-steps // parts), 1)


def cycle_ends(settings: Mapping[str, Any], epochs: int, steps_per_epoch: int) -> list[int]:
    """Return the number of steps after which each cycle of `cosine_restarts` is over, in ascending order.

    The last step is the last end, though its cycle may be a few steps short. The arguments are those of
    `create_schedules`.
    """
    settings = check_group("schedule", settings)
    cycles, growth = settings["cycles"], settings["growth"]
    steps = max(epochs * steps_per_epoch, 1)
    rising = round(settings["warmup"] * steps)
    first = _first_cycle(max(steps - rising, 1), cycles, growth)
    ends = accumulate(first * growth**cycle for cycle in range(cycles))
    return sorted({min(rising + end, steps) for end in ends})


def _step(optimizer: Optimizer, steps: int, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1) -> Any:
    """Multiplied by `gamma` at each of the milestones, which are fractions of the training."""
    return lr_scheduler.MultiStepLR(optimizer, [round(part * steps) for part in milestones], gamma)


def _plateau(optimizer: Optimizer, steps: int, factor: float = 0.1, patience: int = 3) -> Any:
    """Multiplied by `factor` when the loss on val has not fallen for more than `patience` epochs."""
    return lr_scheduler.ReduceLROnPlateau(optimizer, "min", factor, patience)


SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "cosine_restarts": _cosine_restarts,
    "step": _step,
    "plateau": _plateau,
}
"""Name to the function that builds torch's schedule; its keys are in `config.schedule_keys`."""
