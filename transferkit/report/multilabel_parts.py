"""Several labels at once in tables and on the page: average precision and F1 of each."""

import numpy as np

from transferkit.report.facts import percent, show_score
from transferkit.report.run_result import RunResult
from transferkit.report.target_parts import Figure, Parts, Row, Section, TableParts, worst_tiles
from transferkit.targets.multilabel_target import SEPARATOR, THRESHOLD, LabelsPrediction

FIGURES = (
    Figure("map", "Mean average precision", "mean over the labels; at 100 % all images are ranked right", short="mAP"),
    Figure("macro_f1", "Macro F1", "mean over the labels of the F1 at probability 0.5", short="macro F1"),
    Figure("micro_f1", "Micro F1", "F1 of all labels of all images together", short="micro F1"),
    Figure("exact", "All labels right", "share of images", short="all right"),
    Figure("loss", "Binary cross entropy", "nats per label; 0 is perfect, confident mistakes raise it", "nll"),
    Figure("n", "Images", "", "n"),
)


def _brief(prediction: LabelsPrediction) -> str:
    return SEPARATOR.join(prediction.labels) or "(none)"


def _sections(result: RunResult) -> list[Section]:
    """Metrics of every label, and the images with the highest loss."""
    target, labels, test = result.target, result.test.labels, result.metrics["test"]
    rows = []
    for k, name in sorted(enumerate(target.names), key=lambda pair: test["per_label"][pair[1]]["ap"] or 0.0):
        found = test["per_label"][name]
        predicted = result.probabilities[:, k] >= THRESHOLD
        right = int((predicted & (labels[:, k] == 1)).sum())
        precision = right / int(predicted.sum()) if predicted.any() else float("nan")
        recall = right / found["images"] if found["images"] else float("nan")
        counts = [f"{int(counted[k]):,}" for counted in result.class_counts.values()]
        figures = [show_score(found["ap"], "share"), *map(percent, (precision, recall, found["f1"]))]
        rows.append([name, *figures, *counts])
    splits = [f"{split} images" for split in result.class_counts]
    wrong = ((result.probabilities >= THRESHOLD) != (labels == 1)).any(axis=1)
    order = np.argsort(-target.losses(result.probabilities, labels), kind="stable")
    order = order[wrong[order]]
    text = f"{len(order)} of {len(labels)} images have a wrong label or lack one; those with the highest loss first."
    return [
        Section(
            "labels",
            "Metrics per label",
            "Measured on test, the lowest average precision first. Precision, recall and F1 are those at probability "
            "0.5. The last columns are numbers of images with the label. A dash means undefined.",
            header=["Label", "Average precision", "Precision", "Recall", "F1", *splits],
            rows=rows,
        ),
        Section("mistakes", "Mistakes", text, tiles=worst_tiles(result, order, _brief)),
    ]


PARTS = Parts(
    FIGURES,
    TableParts(
        header=lambda target: Row(["predicted"], list(target.names)),
        cells=lambda found: Row([SEPARATOR.join(found.labels)], [f"{value:.6f}" for value in found.probabilities]),
        brief=lambda found: f"{_brief(found):30}",
    ),
    label_header=lambda target: ["label"],
    label_cells=lambda target, label: [target.text(label)],
    sections=_sections,
)
