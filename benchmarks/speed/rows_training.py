"""Rows about finetuning: seconds of an epoch, and the rivals with their accuracies."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.speed import ours, rivals
from benchmarks.speed.clock import spread
from benchmarks.speed.data import Files, ants_and_bees
from benchmarks.speed.machine import matmul_peak
from benchmarks.speed.networks import Net, flops, random_net, real_net, trained_flops, trained_parameters
from benchmarks.speed.options import Options
from benchmarks.speed.results import Record, entry, goal
from transferkit.data.imagedata import ImageData
from transferkit.data.load_data import load_data
from transferkit.device import find_precision

PER_CLASS = {"resnet18": 120, "resnet50": 50, "vgg16": 25, "vit_small_patch16_224": 50}
"""Images of each class in train and val together; fewer for the slower networks."""


def few(name: str, options: Options) -> list[Record]:
    """An epoch of finetuning the last stage against the plain loop with `requires_grad=False` elsewhere."""
    net, epochs = random_net(name, options), options.of(6, 3)
    settings = _settings(net, options, "finetune_few", "tail", epochs, "strategy.head=random")
    data = load_data(settings["dataset"], 0)
    trained = trained_parameters(net, "finetune_few")
    mine = [ours.fit_epochs(settings) for _ in range(options.of(2 if name == "resnet18" else 1, 1))]
    later = [seconds for run in mine for seconds in run.later]
    theirs = [seconds for seconds, _ in _plain(net, data, lambda key: key in trained or _is_head(key), options)]
    sizes = f"{len(data.train)} + {len(data.val)} images"
    what, against = f"finetune the last stage, an epoch, {name}, {sizes}", "plain fp32 loop, requires_grad=False"
    ten = median([run.first + 9 * median(run.later) for run in mine])
    limit = _share(trained_flops(net, "finetune_few"), data, median(later), options)
    note = f"ten epochs including caching before the first: {ten:.1f} s, {10 * median(theirs) / ten:.1f} times faster"
    return [goal(what, against, later, theirs, unit="s", shown="theirs/ours", at_least=5, limit=limit, note=note)]


def full(name: str, options: Options) -> list[Record]:
    """An epoch of finetuning all layers, against the plain loop and a bare loop of the same precision."""
    device, net, epochs = torch.device(options.device), random_net(name, options), options.of(4, 3)
    precision = find_precision("auto", device)
    settings = _settings(net, options, "full_finetune", "all", epochs, "~strategy.phases.head")
    data = load_data(settings["dataset"], 0)
    transform = rivals.testing_transform(ours.preprocessing(net, options))
    train, val = (rivals.in_memory(Files(s.names, list(s.labels), transform)) for s in (data.train, data.val))
    later: list[float] = []
    busy: list[float] = []
    bare: list[tuple[float, float, float]] = []
    for _ in range(options.of(3 if name == "resnet18" else 2, 1)):  # in turn: what else the machine does hits both
        mine = ours.fit_epochs(settings)
        later, busy = later + mine.later, busy + mine.busy
        model = net.plain(len(data.class_names))
        size = options.of(32, 8)
        bare += rivals.bare(model, list(model.parameters()), train, val, epochs, device, precision, size)[1:]
    theirs = [seconds for seconds, _ in _plain(net, data, lambda key: True, options)]
    what = f"finetune all layers, an epoch, {name}, {len(data.train)} + {len(data.val)} images"
    limit = _share(flops(net.plain(2)), data, median(later), options)
    plain = goal(what, "plain fp32 loop", later, theirs, unit="s", shown="theirs/ours", at_least=2, limit=limit)
    against = f"bare loop, {precision}, channels_last, tensors in memory"
    seconds, worked, _ = zip(*bare, strict=True)
    note = f"in CPU seconds {median(busy):.2f} and {median(worked):.2f}: {median(busy) / median(worked):.2f}"
    beside = goal("the same", against, later, list(seconds), unit="s", shown="ours/theirs", at_most=1.03, note=note)
    return [plain, beside]


def _share(operations: float, data: ImageData, seconds: float, options: Options) -> str:
    """Fraction of the matmul peak that an epoch reaches: three forward passes per training image, one per val image."""
    device, batch = torch.device(options.device), options.of(32, 8)
    trained = len(data.train) // batch * batch
    precision = "bf16" if find_precision("auto", device) == "bf16" else "fp32"
    peak = matmul_peak(precision, device, options.quick)
    return f"{operations * (3 * trained + len(data.val)) / seconds / peak:.0%} of the matmul peak"


def compare(options: Options) -> list[Record]:
    """Everybody on the same images, the same network and equal epochs, with the accuracy."""
    net = real_net(options) or random_net("resnet18", options)
    root, epochs, device = ants_and_bees(options), options.of(3, 1), torch.device(options.device)
    settings = ours.settings_of("linear_probe", net, root, options)
    data, preprocess = load_data(settings["dataset"], 0), ours.preprocessing(net, options)
    names, labels = data.train.names + data.val.names, [*data.train.labels, *data.val.labels]
    augmented = Files(names, labels, rivals.training_transform(preprocess))
    train, test = (
        Files(n, list(y), rivals.testing_transform(preprocess))
        for n, y in ((names, labels), (data.test.names, data.test.labels))
    )
    records: list[Record] = []

    def add(who: str, passes: Any, seconds: list[float], top1: float | None) -> None:
        shown = "" if top1 is None or real_net(options) is None else f"{top1:.3f}"
        records.append(
            entry("rivals", who=who, network=net.name, epochs=passes, seconds=spread(seconds), test_top_1=shown)
        )

    _ours(net, root, epochs, options, add)
    for who, trained in _tutorials(net):
        model = net.plain(len(data.class_names))
        rows = rivals.tutorial(model, rivals.freeze_but(model, trained), augmented, test, epochs, device)
        add(f"tutorial loop, {who}", epochs, [sum(seconds for seconds, _ in rows)], rows[-1][1])
    for workers in (0, options.threads):
        seconds, top1 = _naive(net, train, test, workers, device)
        add(f"naive features ({workers} workers), scikit-learn's LogisticRegression, one C", "", [seconds], top1)
    if find_spec("fastai"):
        from benchmarks.speed.fastai_rival import fine_tune

        took, top1 = fine_tune(lambda: net.plain(2), root, preprocess, epochs, device)
        add("fastai, vision_learner(...).fine_tune", f"1 + {epochs}", [took], top1)
    return records


def _ours(net: Net, root: Path, epochs: int, options: Options, add: Callable[..., None]) -> None:
    """Our strategies, with their defaults and with the rivals' number of epochs."""
    steps = ("min_steps=1", f"epochs={epochs}")
    cases: list[tuple[str, Any, tuple[str, ...], int]] = [
        ("linear_probe", "", (), options.repeats),
        ("stage_probe", "", (), options.repeats),
        ("finetune_few", epochs, tuple(f"strategy.phases.tail.{step}" for step in steps), options.of(2, 1)),
        ("full_finetune", f"1 + {epochs}", (*(f"strategy.phases.all.{step}" for step in steps),
         "strategy.phases.head.epochs=1", "strategy.phases.head.min_steps=1"), 1),
        ("finetune_few", "default", (), 0 if options.quick else 1),
    ]  # fmt: skip
    for strategy, passes, overrides, repeats in cases:
        settings = ours.settings_of(strategy, net, root, options, *overrides)
        fits = [ours.fit(settings) for _ in range(repeats)]
        if fits:
            add(f"**transferkit, {strategy}**", passes, [fit.seconds["total"] for fit in fits], fits[0].top1)


def _naive(net: Net, train: Files, test: Files, workers: int, device: torch.device) -> tuple[float, float]:
    """Features in a plain loop and logistic regression on them: seconds, and top-1 on test."""
    model, start = net.plain(0), time.perf_counter()
    features = [rivals.naive_features(model, images, device, workers) for images in (train, test)]
    top1 = rivals.logistic_regression(features[0], features[1])
    return time.perf_counter() - start, top1


def _tutorials(net: Net) -> list[tuple[str, Callable[[str], bool]]]:
    last = trained_parameters(net, "finetune_few")
    return [
        ("frozen", _is_head),
        ("last stage", lambda key: key in last or _is_head(key)),
        ("all layers", lambda key: True),
    ]


def _is_head(key: str) -> bool:
    """Whether a parameter of a library's network is its classifier's."""
    return key.startswith(("fc.", "classifier.6.", "head.")) or key in ("classifier.weight", "classifier.bias")


def _settings(net: Net, options: Options, strategy: str, phase: str, epochs: int, *more: str) -> dict[str, Any]:
    """A finetuning of some epochs of one pass each, on as many images as the network's speed allows."""
    per_class = f"dataset.per_class={options.of(PER_CLASS[net.name], 10)}"
    at = f"strategy.phases.{phase}"
    length = f"{at}.epochs={epochs}", f"{at}.min_steps=1", "strategy.batch_size=" + str(options.of(32, 8))
    return ours.settings_of(strategy, net, ants_and_bees(options), options, per_class, *length, *more)


def _plain(net: Net, data: ImageData, trained: Callable[[str], bool], options: Options) -> list[rivals.Epoch]:
    """The plain loop on the same train and val: batches of 32, a worker for each core, no cache."""
    transform = rivals.testing_transform(ours.preprocessing(net, options))
    train, val = (Files(split.names, list(split.labels), transform) for split in (data.train, data.val))
    model: nn.Module = net.plain(len(data.class_names))
    parameters = rivals.freeze_but(model, trained)
    size = {"batch_size": options.of(32, 8), "num_workers": options.threads}
    device = torch.device(options.device)
    return rivals.tutorial(model, parameters, train, val, options.of(2, 1), device, drop_last=True, **size)
