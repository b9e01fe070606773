"""Finetuning on small data beside plain torch: every strategy and its rival, on the same images.

    python -m benchmarks.small_finetuning --root hymenoptera --backbone efficientnet_lite0

`plain_few`, `plain_many` and `plain_full` train the last one, the last three and all stages in a plain loop
(benchmarks/plain_finetuning.py), `fastai` is its `fine_tune` (extra `bench`; left out where it is not installed). All
get the same labelled images; where a strategy holds some of them out as val, that is part of what is compared. Each fit
is a line of JSON in `--out`; what is there already is not repeated, so a stopped benchmark goes on, and other seeds or
strategies can be added later. Further words are passed on as transferkit's overrides (`backbone.weights=FILE`).
"""

import argparse
import importlib.util
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from benchmarks.plain_finetuning import TRAINED, finetune
from transferkit.backbones.create import create_backbone_from_config
from transferkit.config.compose import load_strategy_settings
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.data.load_data import load_data
from transferkit.device import run_place
from transferkit.features.from_settings import make_extractor
from transferkit.metrics import compute_metrics
from transferkit.models.protocols import center_probabilities
from transferkit.strategies.context import Context, find_plan
from transferkit.strategies.registry import fit_strategy
from transferkit.timing import StepTimer

RIVAL = {
    "linear_probe": "plain_full",
    "finetune_few": "plain_few",
    "finetune_many": "plain_many",
    "full_finetune": "plain_full",
    "lp_ft": "plain_full",
}
"""The plain loop that trains the same stages."""

FASTAI_EPOCHS = 20

Record = dict[str, Any]


def measure(method: str, per_class: str, seed: int, options: argparse.Namespace) -> Record:
    """Fit and test one method; plain methods get train and val together."""
    wanted = [
        f"dataset.per_class={'null' if per_class == 'all' else per_class}",
        f"seed={seed}",
        f"dataset.root={options.root}",
    ]
    given = ["dataset=folder", f"backbone={options.backbone}", *options.overrides, *wanted]
    settings = load_strategy_settings(method if method in RIVAL else "lp_ft", given)
    data = load_data(settings["dataset"], seed)
    torch.manual_seed(seed)
    backbone = create_backbone_from_config(settings["backbone"])
    clock, cpu = time.perf_counter(), time.process_time()
    details: Mapping[str, Any] = {}
    if method in RIVAL:
        figures, details = ours(settings, data, backbone, options.out / "unfinished" / f"{method}_{per_class}_{seed}")
    elif method == "fastai":
        figures = fastai(options, settings, data)
    else:
        precision, classes = run_place(settings)[1], len(data.class_names)
        found = finetune(backbone, labelled(data), data.test, classes, TRAINED[method], seed, precision)
        figures = compute_metrics(found, data.test.labels)
    return {
        **{"data": data.name, "backbone": options.backbone, "per_class": per_class, "seed": seed, "method": method},
        **{"top1": figures["top1"], "nll": figures.get("nll"), "train": len(data.train), "val": len(data.val)},
        **{"seconds": time.perf_counter() - clock, "cpu": time.process_time() - cpu, "phases": details},
    }


def ours(
    settings: Mapping[str, Any], data: ImageData, backbone: Any, folder: Path
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Figures on test, and what metrics.json says of the phases; a fit that was stopped goes on."""
    extract = make_extractor(settings)
    fitted = fit_strategy(Context(backbone, data, settings, extract, StepTimer(), folder, find_plan(settings)))
    found = compute_metrics(center_probabilities(fitted.model, data.test, extract), data.test.labels)
    return found, {name: fitted.details[name] for name in ("phases", "selection") if name in fitted.details}


def fastai(options: argparse.Namespace, settings: Mapping[str, Any], data: ImageData) -> Mapping[str, Any]:
    """Accuracy of fastai's `fine_tune` on a folder of links to the same images."""
    from torch import nn

    from benchmarks.speed.fastai_rival import fine_tune

    backbone = create_backbone_from_config(settings["backbone"])
    with tempfile.TemporaryDirectory() as folder:
        for split, images in (("train", labelled(data)), ("val", data.test)):
            for name, label in zip(images.names, images.labels.tolist(), strict=True):
                link = Path(folder) / split / str(label) / Path(name).name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(os.path.abspath(name))

        def make() -> nn.Module:
            return nn.Sequential(*backbone.stages.values())  # fastai cuts after the last layer that pools

        _, top1 = fine_tune(make, Path(folder), backbone.preprocess, FASTAI_EPOCHS, run_place(settings)[0])
    return {"top1": top1}


def labelled(data: ImageData) -> ImageSet:
    """Train and val together, which are cut out of one set of files."""
    names = [*data.train.names, *data.val.names]
    return ImageSet.from_files(names, np.concatenate([data.train.labels, data.val.labels]))


def run_all(options: argparse.Namespace) -> list[Record]:
    """Measure what is missing, printing each result."""
    path = options.out / f"{options.backbone}.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records: list[Record] = [json.loads(line) for line in lines]
    name = options.root.resolve().name
    done = {(r["data"], r["per_class"], r["seed"], r["method"]) for r in records}
    for seed in range(options.seeds):
        for per_class in options.per_class:
            for method in options.methods:
                if (name, per_class, seed, method) in done or options.table_only:
                    continue
                records.append(measure(method, per_class, seed, options))
                with path.open("a", encoding="utf-8") as file:
                    print(json.dumps(records[-1]), file=file)
                shown = f"{100 * records[-1]['top1']:.1f} % in {records[-1]['seconds']:.0f} s"
                print(f"{name}, {per_class} a class, seed {seed}, {method}: {shown}", flush=True)
    return [r for r in records if r["data"] == name]


def table(records: Sequence[Record]) -> list[str]:
    """Mean test top-1 in %, and nll, of each method over the seeds that all of them have; then ours against plain."""
    methods = list(dict.fromkeys(r["method"] for r in records))
    lines = [f"| per class | seeds | {' | '.join(methods)} |", "|---" * (len(methods) + 2) + "|"]
    for per_class in dict.fromkeys(r["per_class"] for r in records):
        mine = {(r["method"], r["seed"]): r for r in records if r["per_class"] == per_class}
        seeds = [s for s in sorted({s for _, s in mine}) if all((m, s) in mine for m in methods)]
        cells = [_cell([mine[m, s] for s in seeds]) for m in methods] if seeds else ["-"] * len(methods)
        lines.append(f"| {per_class} | {len(seeds)} | {' | '.join(cells)} |")
    for ours, plain in RIVAL.items():
        pairs = _pairs(records, ours, plain)
        if pairs:
            mean = 100 * fmean(a - b for a, b in pairs)
            lines.append(f"\n{ours} minus {plain}: {mean:+.2f} points, mean of {len(pairs)} fits")
    return lines


def _cell(records: Iterable[Record]) -> str:
    rows = list(records)
    losses = [r["nll"] for r in rows if r["nll"] is not None]
    return f"{100 * fmean(r['top1'] for r in rows):.1f}" + (f" ({fmean(losses):.2f})" if losses else "")


def _pairs(records: Sequence[Record], ours: str, plain: str) -> list[tuple[float, float]]:
    by_case = {(r["per_class"], r["seed"], r["method"]): r["top1"] for r in records}
    cases = dict.fromkeys((r["per_class"], r["seed"]) for r in records)
    return [
        (by_case[*case, ours], by_case[*case, plain])
        for case in cases
        if (*case, ours) in by_case and (*case, plain) in by_case
    ]


def main() -> None:
    available = [*RIVAL, *TRAINED, *(["fastai"] if importlib.util.find_spec("fastai") else [])]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of images: CLASS/ or train/CLASS, val/CLASS")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="a choice of the group backbone")
    parser.add_argument("--per-class", nargs="+", default=["5", "20", "all"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=available, choices=available)
    parser.add_argument("--out", type=Path, default=Path("runs/small_finetuning"))
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("overrides", nargs="*", help="of transferkit's configuration")
    options = parser.parse_intermixed_args()
    logging.disable(logging.WARNING)
    print("\n".join(table(run_all(options))))


if __name__ == "__main__":
    main()
