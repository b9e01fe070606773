"""Rows about frozen features: extraction, probes, the second run."""

import time
from statistics import median

import torch
from torch.utils.data import DataLoader

from benchmarks.speed import ours, rivals
from benchmarks.speed.clock import alternate, finish, torch_as_imported
from benchmarks.speed.data import Files, Tensors, ants_and_bees, generated
from benchmarks.speed.machine import forwards, matmul_peak
from benchmarks.speed.networks import Net, flops, random_net, real_net
from benchmarks.speed.options import Options
from benchmarks.speed.results import Record, entry, goal
from transferkit.data.load_data import load_data
from transferkit.device import find_precision

EXTRACTED = {"resnet18": 1024, "resnet50": 512, "vgg16": 256, "vit_small_patch16_224": 512}
"""Images in batches of 64, the first two of which warm up and, if anything does, compile."""


def extraction(name: str, options: Options) -> list[Record]:
    """Features of decoded images against the network's forward pass at its best."""
    device, net = torch.device(options.device), random_net(name, options)
    precision = find_precision("auto", device)
    batch = options.of(64, 8)
    images = Tensors(options.of(EXTRACTED[name], 32), warm=2 * batch)
    steady: dict[bool, list[float]] = {False: [], True: []}
    whole: list[float] = []

    def measure(compiled: bool | str) -> float:
        given = {"compile": compiled, "batch_size": batch, "num_workers": 0}
        start = time.perf_counter()
        ours.extract(net, images, options, **given)
        finish(device)
        end = time.perf_counter()
        if compiled != "auto":
            steady[bool(compiled)].append((len(images) - images.warm) / (end - images.warm_at))
        return len(images) / (end - start)

    for _ in range(options.repeats if name == "resnet18" else 1):
        whole.append(measure("auto"))
        measure(False)
        measure(True)
    batches = (16,) if name == "vgg16" or options.quick else (16, 32)
    ways = dict(forwards(lambda: net.plain(0), device, precision == "bf16", batches, 0.2 if options.quick else 3.0))
    best, operations = max(ways.values()), flops(net.plain(0))
    peak = matmul_peak(precision if precision in ("bf16", "fp32") else "fp32", device, options.quick)
    rows = [
        entry(
            "limits",
            network=name,
            forward=way,
            images_a_second=f"{rate:.0f}",
            TFLOPS=f"{rate * operations / 1e12:.2f}",
            of_the_matmul_peak=f"{rate * operations / peak:.0%}",
        )
        for way, rate in ways.items()
    ]
    against = f"its forward pass at its best ({max(ways, key=lambda way: ways[way])})"
    for compiled, values in steady.items():
        what = f"extraction, images decoded, {name}, steady state, trainer.compile={str(compiled).lower()}"
        limit = f"{median(values) * operations / peak:.0%} of the matmul peak"
        least = 0.9 if compiled else None  # uncompiled is what is done with few images, since compiling takes longer
        rows.append(goal(what, against, values, [best], unit="img/s", shown="ours/theirs", at_least=least, limit=limit))
    what, against = f"extraction of {len(images)} such images, all included, {name}", "plain fp32 forward pass"
    rows.append(goal(what, against, whole, [ways["fp32"]], unit="img/s", shown="ours/theirs"))
    return rows


def matmul(options: Options) -> list[Record]:
    """Matrix products per second on this machine."""
    device = torch.device(options.device)
    return [
        entry(
            "limits",
            network="matrix product",
            forward=precision,
            images_a_second="",
            TFLOPS=f"{matmul_peak(precision, device, options.quick) / 1e12:.2f}",
            of_the_matmul_peak="",
        )
        for precision in ("fp32", "bf16")
    ]


def probe(options: Options) -> list[Record]:
    """Image files to test accuracy: a linear probe against the tutorial's loop with a frozen network."""
    nets = [net for net in (random_net("resnet18", options), real_net(options)) if net is not None]
    return [record for net in nets for record in _probe(net, options)]


def _probe(net: Net, options: Options) -> list[Record]:
    root, device, epochs = ants_and_bees(options), torch.device(options.device), 25
    settings = ours.settings_of("linear_probe", net, root, options)
    fits = [ours.fit(settings) for _ in range(options.repeats)]
    data, preprocess = fits[0].data, fits[0].fitted.model.preprocess
    names, labels = data.train.names + data.val.names, [*data.train.labels, *data.val.labels]
    train = Files(names, labels, rivals.training_transform(preprocess))
    test = Files(data.test.names, list(data.test.labels), rivals.testing_transform(preprocess))
    model = net.plain(0)
    whole = torch.nn.Sequential(model, torch.nn.Linear(_width(model), len(data.class_names)))
    parameters = rivals.freeze_but(whole, lambda name: name.startswith("1."))
    # Accuracy needs all epochs, time does not: random weights have no accuracy worth the wait.
    done = options.of(epochs, 1) if net.source == "timm" else options.of(3, 1)
    rows = rivals.tutorial(whole, parameters, train, test, done, device)
    theirs = [seconds * epochs for seconds, _ in rows]
    note = f"top-1 ours {fits[0].top1:.3f}, theirs {rows[-1][1]:.3f} (best epoch {max(top1 for _, top1 in rows):.3f})"
    if net.source != "timm":
        note = "random weights, so accuracies mean nothing" if options.weights_dir is None else note
    note += f"; theirs: {done} epochs, each times {epochs}; batches of 4, 4 workers"
    seconds = [fit.seconds["total"] for fit in fits]
    what, against = f"linear probe, {len(names)} + {len(test)} files, {net.name}", "tutorial loop, 25 epochs"
    limit = _share(net, len(names) + len(test), median(seconds), options)
    record = goal(what, against, seconds, theirs, unit="s", shown="theirs/ours", at_least=20, limit=limit, note=note)
    return [record]


def stages(options: Options) -> list[Record]:
    """Probes of all stages and nearest neighbours, with the extraction, against one plain forward pass."""
    device, net = torch.device(options.device), random_net("resnet18", options)
    root = generated(options, options.of(1000, 40), options.of(20, 8), classes=options.of(10, 2))
    cache = options.out / "cache" / "stages"
    detail: list[str] = []

    def all_probes() -> None:
        ours.empty(cache)
        given = ours.cached_in(cache)
        every = ours.settings_of("stage_probe", net, root, options, *given)
        near = ours.settings_of("nearest_neighbor", net, root, options, *given, "strategy.neighbors.stages=['*']")
        fits = [ours.fit(settings, test=False) for settings in (every, near)]
        steps = [f"{step} {fit.seconds.get(step, 0.0):.1f} s" for fit in fits for step in ("data", "extract", "fit")]
        detail.append(f"stage_probe: {', '.join(steps[:3])}; nearest_neighbor: {', '.join(steps[3:])}")

    data = load_data(ours.settings_of("stage_probe", net, root, options)["dataset"], 0)
    model, transform = net.plain(1000), rivals.testing_transform(ours.preprocessing(net, options))
    names = data.train.names + data.val.names
    files = Files(names, [0] * len(names), transform)
    tasks = {"ours": all_probes, "theirs": lambda: plain_pass(model, files, device, options.threads)}
    seconds = alternate(tasks, options.repeats, device)
    what = f"extraction, 45 C at every stage, k-NN at every stage; {len(names)} files, resnet18"
    against = f"one plain fp32 forward pass, batches of 32, {options.threads} workers"
    limit = _share(net, len(names), median(seconds["ours"]), options)
    record = goal(
        what,
        against,
        seconds["ours"],
        seconds["theirs"],
        unit="s",
        shown="ours/theirs",
        at_most=1.15,
        limit=limit,
        note=detail[-1],
    )
    return [record]


@torch_as_imported()
@torch.no_grad()
def plain_pass(model: torch.nn.Module, files: Files, device: torch.device, num_workers: int) -> None:
    """The network as its library gives it, over all images."""
    model = model.eval().to(device)
    for inputs, _ in DataLoader(files, batch_size=32, num_workers=num_workers):
        model(inputs.to(device))


def second(options: Options) -> list[Record]:
    """The extraction of a second run on the same data."""
    root, net = ants_and_bees(options), random_net("resnet18", options)
    cache = options.out / "cache" / "second"
    settings = ours.settings_of("stage_probe", net, root, options, *ours.cached_in(cache))
    runs: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
    for _ in range(options.repeats):
        ours.empty(cache)
        for name in runs:
            runs[name].append(ours.fit(settings, test=False).seconds)
    first, again = ([seconds["extract"] for seconds in runs[name]] for name in ("second", "first"))
    loaded = " and ".join(f"{median([s['data'] for s in runs[name]]):.2f} s" for name in ("second", "first"))
    what, against = "extraction in a second run, every stage, resnet18", "the first run"
    note = f"finding and checking the files, not included: {loaded}"
    return [goal(what, against, first, again, unit="s", shown="ours/theirs", at_most=0.05, note=note)]


def _width(model: torch.nn.Module) -> int:
    with torch.no_grad():
        return int(model.eval()(torch.zeros(1, 3, 224, 224)).shape[1])


def _share(net: Net, images: int, seconds: float, options: Options) -> str:
    """Fraction of the matmul peak that the forward passes alone reach."""
    device = torch.device(options.device)
    precision = "bf16" if find_precision("auto", device) == "bf16" else "fp32"
    peak = matmul_peak(precision, device, options.quick)
    return f"{images * flops(net.plain(0)) / seconds / peak:.0%} of the matmul peak"
