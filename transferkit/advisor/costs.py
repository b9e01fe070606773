"""Cost of each strategy in seconds, estimated from a short measurement of the network on this machine."""

import copy
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import State, feature
from transferkit.config.augment_use import count_views, used_augment
from transferkit.data.batch_loading import count_workers
from transferkit.data.imageset import ImageSet
from transferkit.device import autocast
from transferkit.features.placement import pixel_bytes
from transferkit.features.store_entries import GIGABYTE
from transferkit.training.plan import Plan

BATCHES = 5
BATCH = 16
ENOUGH_SECONDS = 2.0
OVERHEAD = 0.01  # seconds per training step independent of network and batch: loader, Lightning, callbacks
MANY = 10**6  # passes over the images: enough that views are cached with augment.views=auto
USUAL_BACKWARD = 2.0
"""Backward over forward of a convolutional network, where it was not measured."""


@dataclass(frozen=True)
class Speed:
    """Seconds for one image on this machine.

    Attributes:
        forward: By stage, in order, up to the top one.
        backward: Of a backward pass through a stage, as a multiple of its forward pass.
        load: Decoding and preprocessing, in one process.
        step: An optimizer step for all parameters, independent of the batch.
    """

    forward: Mapping[str, float]
    backward: float
    load: float
    step: float


@dataclass(frozen=True)
class Work:
    """The amount of work.

    Attributes:
        train: Images.
        val: Images.
        workers: Processes that load images.
        stored: Whether activations of frozen stages are cached in memory, as without augmentation.
        stages: Of the network in order, and `head`.
        probes: Seconds of the strategies' sweep of C, by stage.
        views: Cached views of each training image, where a stage is trained.
        head_views: The same where only the head is.
    """

    train: int
    val: int
    workers: int
    stored: bool
    stages: tuple[str, ...]
    probes: Mapping[str, float]
    views: int = 1
    head_views: int = 1


def measure_speed(backbone: Backbone, images: ImageSet, place: torch.device, precision: str = "fp32") -> Speed:
    """Time a few batches forward, stage by stage, and one backward. The backbone is not changed.

    Args:
        backbone: The network.
        images: To draw the batches from.
        place: The device.
        precision: As `find_precision` returns it.
    """
    rows = list(range(min(BATCH, len(images))))
    backbone.preprocess(images.image(0))  # one-time work at the first image
    start = time.perf_counter()
    inputs = torch.stack([backbone.preprocess(images.image(i)) for i in rows])
    load = (time.perf_counter() - start) / len(rows)
    network = copy.deepcopy(backbone.truncate(backbone.top)).eval().to(place).to(memory_format=torch.channels_last)
    inputs = inputs.to(place).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), autocast(precision, place):
        network(inputs)  # warm
        best = dict.fromkeys(network.stage_names, float("inf"))
        end = time.perf_counter() + ENOUGH_SECONDS
        for number in range(BATCHES):
            if number and time.perf_counter() > end:
                break
            best = {name: min(best[name], seconds) for name, seconds in _time_stages(network, inputs, place).items()}
    return Speed(
        forward={name: seconds / len(rows) for name, seconds in best.items()},
        backward=_backward_share(network, inputs, place, precision),
        load=load,
        step=OVERHEAD + _update_seconds(network, place),
    )


def estimate(strategy: Mapping[str, Any], work: Work, speed: Speed) -> float | None:
    """Expected seconds of a strategy, from reading images to the model; None for a kind that is not known.

    Args:
        strategy: Its YAML's content.
        work: The amount of work.
        speed: Of the network.
    """
    if "probe" in strategy:
        stages = strategy["probe"]["stages"]
        probed = list(work.probes)[-1:] if list(stages) == ["top"] else list(work.probes)
        return _extraction(work, speed) + sum(work.probes[name] for name in probed)
    if "neighbors" in strategy:
        return _extraction(work, speed)
    if "phases" not in strategy:
        return None
    return _plan_seconds(Plan.from_mapping(strategy), work, speed)


def estimate_all(strategies: Iterable[Mapping[str, Any]], work: Work, speed: Speed) -> dict[str, float]:
    """Expected seconds by name, for those of a known kind."""
    estimates = {str(strategy["name"]): estimate(strategy, work, speed) for strategy in strategies}
    return {name: seconds for name, seconds in estimates.items() if seconds is not None}


def make_work(
    data_sizes: tuple[int, int], settings: Mapping[str, Any], backbone: Backbone, probes: Mapping[str, float]
) -> Work:
    """The amount of work under a configuration."""
    train, val = data_sizes
    workers = count_workers(settings["trainer"]["num_workers"], train)
    # None for new ones in each epoch
    views, head_views = (count_views(used_augment(settings["augment"], trains), MANY) for trains in (True, False))
    size = pixel_bytes(backbone.preprocess.input_size, train * (views or 1) + val)
    stored = views is not None and size <= GIGABYTE * settings["cache"].get("ram_gb", 0)
    return Work(train, val, workers, stored, (*backbone.feature_stages, "head"), probes, views or 1, head_views or 1)


def _extraction(work: Work, speed: Speed) -> float:
    """Seconds to compute features of every stage once."""
    return _passes(work.train + work.val, work, speed, work.stages, loaded=False)


def _plan_seconds(plan: Plan, work: Work, speed: Speed) -> float:
    total = 0.0
    if plan.head == "probe":
        total += _extraction(work, speed) + list(work.probes.values())[-1]
    for phase in plan.phases:
        rates = phase.rates(work.stages)
        first = next(i for i, name in enumerate(work.stages) if name in rates)
        frozen, trained = work.stages[:first], work.stages[first:]
        passes = phase.passes(work.train, plan.batch_size * plan.accumulate)
        views = work.head_views if trained == ("head",) else work.views
        if work.stored:
            total += _passes(
                min(views, phase.epochs * passes) * work.train + work.val, work, speed, frozen, loaded=False
            )
        again = trained if work.stored else work.stages
        images = work.train * passes
        epoch = _passes(images, work, speed, again, work.stored, backward=trained)
        epoch += max(images // (plan.batch_size * plan.accumulate), 1) * speed.step
        total += phase.epochs * (epoch + _passes(work.val, work, speed, again, work.stored))
        total += _passes(work.val, work, speed, work.stages, loaded=False)  # final validation, with the best epoch
    return total


def _passes(
    images: int, work: Work, speed: Speed, forward: Sequence[str], loaded: bool, backward: Sequence[str] = ()
) -> float:
    """Seconds for `images` forward through some stages and backward through others, with loading unless `loaded`."""
    seconds = sum(speed.forward.get(name, 0.0) for name in forward)
    seconds += speed.backward * sum(speed.forward.get(name, 0.0) for name in backward)
    if loaded:
        return images * seconds
    load = speed.load / max(work.workers, 1)
    # Worker processes load while the network computes; one process does both in turn.
    return images * (max(seconds, load) if work.workers else seconds + load)


def _time_stages(network: Backbone, inputs: Tensor, place: torch.device) -> dict[str, float]:
    seconds: dict[str, float] = {}
    state: State = inputs
    for name in network.stage_names:
        stage = network.stages[name]

        def run(state: State = state, stage: torch.nn.Module = stage) -> State:
            out: State = stage(*state) if isinstance(state, tuple) else stage(state)
            return out

        seconds[name], state = _timed(run, place)
    return seconds


def _backward_share(network: Backbone, inputs: Tensor, place: torch.device, precision: str) -> float:
    """Ratio of a backward to a forward pass; the usual value if the network has no parameters to train."""
    network.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return USUAL_BACKWARD
    shares = []
    for _ in range(2):
        with autocast(precision, place):
            forward, state = _timed(lambda: network(inputs), place)
        backward, _ = _timed(network.pooled(network.top, feature(state)).sum().backward, place)
        shares.append(backward / forward)
    return max(min(shares), 0.5)


def _update_seconds(network: Backbone, place: torch.device) -> float:
    """Seconds of one AdamW step, with the present gradients."""
    parameters = [parameter for parameter in network.parameters() if parameter.grad is not None]
    if not parameters:
        return 0.0
    optimizer = torch.optim.AdamW(parameters, lr=0.0)
    optimizer.step()  # creates its state
    return _timed(optimizer.step, place)[0]


def _timed(function: Callable[[], Any], place: torch.device) -> tuple[float, Any]:
    _wait(place)
    start = time.perf_counter()
    result = function()
    _wait(place)
    return time.perf_counter() - start, result


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    elif place.type == "mps":
        torch.mps.synchronize()
