"""The model card of a Hugging Face folder: the model, its results and data, its limits, and how it was made."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.compare.collect import FinishedRun, read_run
from transferkit.errors import shown_text
from transferkit.export.exported import Exporting
from transferkit.metrics import wilson_interval
from transferkit.plain_yaml import read_texts
from transferkit.report.facts import SCORES, plural, show_score
from transferkit.untrusted import UnreadableFile

CLASSES_SHOWN = 200

CARD = """\
---
library_name: timm
pipeline_tag: image-classification
tags: [image-classification, timm, transferkit]
---
# {title}

{network} of timm with a classifier for {classes}, made with transferkit {version}.

## Results

{results}

## Data

{data}

Classes: {names}

## Limits

- The model names one of these classes for any image, also for images of something else.
- The results hold for images like those of the test split: of the same kind, taken under the same
  conditions. Nothing was measured on others, nor by groups of people or places.
- Images must be prepared as `config.json` says: {preprocessing}.
- The licences of the training images and of the pretrained weights ({weights}) apply to the model,
  too; this card does not know them.

## Use

    import timm, torch
    from PIL import Image

    model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()   # or hf-hub:USER/NAME
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode():
        probabilities = model(transform(Image.open("photo.jpg").convert("RGB"))[None]).softmax(dim=1)[0]
    print(model.pretrained_cfg["label_names"][int(probabilities.argmax())])

## How it was made

    {command}
"""


def model_card(exporting: Exporting) -> str:
    """Return the card as Markdown."""
    model = exporting.network.model
    about = exporting.about
    run = read_run(exporting.run)
    found = run if isinstance(run, FinishedRun) else None
    dataset = found.metrics["dataset"] if found else "images"
    names = [f"`{shown_text(name).replace('`', chr(39))}`" for name in model.class_names[:CLASSES_SHOWN]]
    more = f" and {len(model.class_names) - CLASSES_SHOWN:,} more" if len(model.class_names) > CLASSES_SHOWN else ""
    return CARD.format(
        title=f"{model.backbone.spec.name} on {dataset}",
        network=model.backbone.spec.name,
        classes=plural(len(model.class_names), "class"),
        version=about["transferkit"],
        results=_results(found),
        data=_data(found),
        names=", ".join(names) + more,
        preprocessing=_preprocessing(about["preprocessing"]),
        weights=shown_text(model.backbone.weights_name),
        command=fit_command(exporting.run) or "(not recorded: the model was exported from an artifact without its run)",
    )


def _results(run: FinishedRun | None) -> str:
    """Accuracy on the test split with its interval, and the table of metrics."""
    if run is None:
        return "Not recorded: the model was exported from an artifact without the metrics of its run."
    test = run.metrics["test"]
    low, high = wilson_interval(round(test["top1"] * test["n"]), test["n"])
    rows = [
        f"| {name} | {show_score(test[kind], kind)} | {meaning} |"
        for kind, (name, meaning) in SCORES.items()
        if isinstance(test.get(kind), int | float)
    ]
    return "\n".join(
        [
            f"**{100 * test['top1']:.1f} %** of {test['n']:,} held-out test images are classified correctly "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %).",
            "",
            "| metric | test | meaning |",
            "|---|---|---|",
            *rows,
        ]
    )


def _data(run: FinishedRun | None) -> str:
    if run is None:
        return "Not recorded."
    fitted = f" The model was fitted to {plural(run.labelled, 'labelled image')}." if run.labelled else ""
    pretrained = f"{run.metrics['backbone']} ({run.metrics['weights']})"
    return f"Data set `{run.metrics['dataset']}`.{fitted} Strategy `{run.metrics['strategy']}`, from {pretrained}."


def _preprocessing(how: Mapping[str, Any]) -> str:
    height, width = how["input_size"]
    return f"{height} x {width} pixels, {how['interpolation']}, mean {how['mean']}, standard deviation {how['std']}"


def fit_command(run: Path) -> str | None:
    """Return the command of a run, from the arguments that it recorded; None where there are none."""
    try:
        arguments = read_texts(run / ".hydra" / "overrides.yaml")
    except UnreadableFile:
        return None
    return shlex.join(["transferkit", *map(shown_text, arguments)])
