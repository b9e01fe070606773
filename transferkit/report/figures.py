"""Figures as inline SVG with the colours and fonts of the page, so that they follow its light or dark theme."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from transferkit.metrics import Bin
from transferkit.report.classes import Confusion
from transferkit.report.examples import data_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours drawn by matplotlib -> their variables in the page's style sheet.
INK, MUTED, RULE = "#0a0001", "#0a0002", "#0a0003"
LINES = ("#0a0004", "#0a0005", "#0a0006", "#0a0007", "#0a0008", "#0a0009", "#0a000a", "#0a000b")
PAGE_COLOURS = {INK: "--ink", MUTED: "--muted", RULE: "--rule"} | {
    colour: f"--line{i}" for i, colour in enumerate(LINES, 1)
}
HIT, MISS = (15, 140, 128), (214, 90, 20)
PICTURE_SIDE = 250
DOTS_TO = 40
"""Maximum number of epochs drawn with a dot each."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Sweep = Mapping[str, Sequence[Mapping[str, float]]]


def sweep_figure(sweep: Sweep, chosen: Mapping[str, float], images: str = "val") -> str:
    """Draw top-1 (percent) on these images over C, one line per stage; the selected C of each stage is marked."""
    with new_figure(4.9, 2.8) as (figure, axes):
        for (stage, rows), colour in zip(sweep.items(), LINES * len(sweep), strict=False):
            rows = sorted(rows, key=lambda row: row["C"])
            axes.plot([row["C"] for row in rows], [100 * row["val_top1"] for row in rows], color=colour, label=stage)
            marked = [row for row in rows if row["C"] == chosen.get(stage)]
            axes.plot([row["C"] for row in marked], [100 * row["val_top1"] for row in marked], "o", color=colour, ms=7)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda C, _: "10" + f"{round(np.log10(C))}".translate(SUPERSCRIPT))
        axes.set_xlabel("C (larger: weaker regularisation)")
        axes.set_ylabel(f"{top1_on(images)}, %")
        if len(sweep) > 1:
            axes.legend(frameon=False, labelcolor=INK, ncols=2)
        return to_svg(figure, f"Accuracy over the regularisation strength C: {top1_on(images)}")


def depth_figure(top1: Mapping[str, float], chosen: str | None, images: str = "val") -> str:
    """Draw top-1 (percent) on these images over the stages, in the order of the network; the selected one is marked."""
    stages, values = list(top1), [100 * value for value in top1.values()]
    with new_figure(4.9, 2.6) as (figure, axes):
        axes.plot(stages, values, "o-", color=LINES[0], ms=4)
        if chosen and chosen in top1:
            axes.plot([chosen], [100 * top1[chosen]], "o", color=LINES[0], ms=9)
        axes.set_ylabel(f"{top1_on(images)}, %")
        return to_svg(figure, f"Accuracy by stage: {top1_on(images)}")


def top1_on(images: str) -> str:
    """Return "top-1 on val" or "top-1 out of fold"."""
    return f"top-1 on {images}" if images == "val" else f"top-1 {images}"


def history_figure(
    history: Sequence[Mapping[str, Any]],
    kept: Mapping[str, int],
    before: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Draw loss and top-1 on val (percent) over the epochs of all phases, one after the other.

    Args:
        history: One row per epoch; missing values are not drawn.
        kept: The best epoch by phase, 0 for the state before it; it is marked.
        before: `val_loss` and `val_top1` before a phase, its epoch 0, where they were measured.
    """
    phases = [str(row.get("phase", "")) for row in history]
    starts = [i for i in range(len(phases)) if i == 0 or phases[i] != phases[i - 1]]
    mark = "o-" if len(history) <= DOTS_TO else "-"
    train_loss, val_loss, top1 = (_column(history, key) for key in ("train_loss", "val_loss", "val_top1"))
    if np.isnan(top1).all():
        return loss_figure(train_loss, val_loss, starts[1:])
    with new_figure(6, 4.4, rows=2, sharex=True, height_ratios=(3, 2)) as (figure, (axes, below)):
        for start, end in zip(starts, [*starts[1:], len(history)], strict=True):
            part, epochs = slice(start, end), np.arange(start + 1, end + 1)
            axes.plot(epochs, train_loss[part], mark, color=LINES[0], ms=3)
            first = (before or {}).get(phases[start], {})
            from_0 = np.arange(start if first else start + 1, end + 1)
            loss = np.concatenate([[first["val_loss"]] if first else [], val_loss[part]])
            accuracy = 100 * np.concatenate([[first["val_top1"]] if first else [], top1[part]])
            axes.plot(from_0, loss, mark, color=LINES[1], ms=3)
            below.plot(from_0, accuracy, mark, color=LINES[1], ms=3)
            best = from_0 - start == kept.get(phases[start], -1)
            below.plot(from_0[best], accuracy[best], "o", color=LINES[1], ms=8)
            for line in (axes, below) if start else ():
                line.axvline(start + 0.5, color=MUTED, lw=1, ls="--")
            if len(starts) > 1:
                axes.annotate(phases[start], (start + 0.5, 1), (4, 3), ("data", "axes fraction"), "offset points")
        axes.set_ylabel("loss")
        axes.legend(["train", "val"], frameon=False, labelcolor=INK)
        below.set(xlabel="epoch", ylabel="top-1 on val, %")
        below.xaxis.get_major_locator().set_params(integer=True)
        return to_svg(figure, "Loss and top-1 accuracy on val over the epochs")


def loss_figure(train: npt.NDArray[np.float64], val: npt.NDArray[np.float64], starts: Sequence[int]) -> str:
    """Draw the losses over the epochs, where there is no accuracy; phases begin at `starts`, counted from 0."""
    epochs, mark = np.arange(1, len(train) + 1), "o-" if len(train) <= DOTS_TO else "-"
    with new_figure(6, 2.8) as (figure, axes):
        for values, colour in ((train, LINES[0]), (val, LINES[1])):
            axes.plot(epochs, values, mark, color=colour, ms=3)
        for start in starts:
            axes.axvline(start + 0.5, color=MUTED, lw=1, ls="--")
        axes.set(xlabel="epoch", ylabel="loss")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(["train", "val"], frameon=False, labelcolor=INK)
        return to_svg(figure, "Loss over the epochs")


def _column(history: Sequence[Mapping[str, Any]], key: str) -> npt.NDArray[np.float64]:
    """The values of a column, NaN where missing."""
    values = [row.get(key) for row in history]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def reliability_figure(bins: Sequence[Bin], before: Sequence[Bin] | None = None) -> str:
    """Draw accuracy over confidence, one bar per bin, and below it the number of images in each bin.

    Args:
        bins: As the model predicts.
        before: Of its probabilities without the temperature; drawn as a line.
    """
    left, width = [100 * b.lower for b in bins], [100 * (b.upper - b.lower) for b in bins]
    confidence, accuracy = [100 * b.confidence for b in bins], [100 * b.accuracy for b in bins]
    with new_figure(4.6, 4.6, rows=2, sharex=True, height_ratios=(3, 1)) as (figure, (axes, below)):
        axes.plot([0, 100], [0, 100], "--", color=MUTED, lw=1)
        axes.bar(left, accuracy, width, align="edge", color=LINES[0], alpha=0.35, ec=LINES[0])
        axes.plot(confidence, accuracy, "o", color=LINES[0], ms=5, clip_on=False)
        if before:
            points = [100 * b.confidence for b in before], [100 * b.accuracy for b in before]
            axes.plot(*points, "s:", color=LINES[1], ms=4, lw=1, clip_on=False, label="before the temperature")
            axes.legend(frameon=False, labelcolor=INK, loc="lower left", bbox_to_anchor=(0, 1))
        axes.set(xlim=(0, 100), ylim=(0, 102), ylabel="accuracy, %")
        below.bar(left, [b.count for b in bins], width, align="edge", color=MUTED, alpha=0.35, ec=MUTED)
        below.set(xlabel="confidence, %", ylabel="images")
        below.yaxis.get_major_locator().set_params(integer=True, nbins=3)
        return to_svg(figure, "Reliability diagram: accuracy over confidence")


def confusion_picture(confusion: Confusion) -> str:
    """Draw the matrix as an image in a `data:` URI: for many classes, one pixel per cell or block of cells.

    Transparent where no image was counted, so that it fits a light and a dark page.
    """
    block = cells_per_pixel(len(confusion.names))
    starts = np.arange(0, len(confusion.names), block)
    hits = np.diag(np.diag(confusion.shares))
    # The largest of a block, not its mean: a single mistake must still be seen.
    hit, miss = (
        np.maximum.reduceat(np.maximum.reduceat(shares, starts, axis=0), starts, axis=1)
        for shares in (hits, confusion.shares - hits)
    )
    shown = np.where(hit > 0, hit, miss)
    pixels = np.zeros((*shown.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where((hit > 0)[..., None], HIT, MISS)
    pixels[..., 3] = np.where(shown > 0, 90 + 165 * shown, 0)
    return data_uri(Image.fromarray(pixels), "PNG", optimize=True)


def cells_per_pixel(num_classes: int) -> int:
    """Return the number of classes per row of the image, so that it has at most `PICTURE_SIDE` rows."""
    return -(-num_classes // PICTURE_SIDE)


@contextmanager
def new_figure(width: float, height: float, rows: int = 1, **options: Any) -> Iterator[tuple["Figure", Any]]:
    """Give a figure (inches) and its axes, with matplotlib's defaults instead of the user's, and the report's style.

    Draw and save inside the context: matplotlib reads some settings only when it draws.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK)
    rules = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), RULE)
    rest = {"svg.fonttype": "none", "svg.hashsalt": "transferkit", "font.size": 9, "axes.grid": True}
    look = {"axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False}
    with style.context(["default", colours | rules | rest | look]):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, 1, **options)


def to_svg(figure: "Figure", title: str) -> str:
    """Return the figure as an `<svg>` element without fixed size, fonts, global styles and addresses."""
    with StringIO() as buffer:
        figure.savefig(buffer, format="svg", transparent=True)
        svg = buffer.getvalue()
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    body = svg[svg.index("</metadata>") + len("</metadata>") :]
    body = re.sub(r"<style.*?</style>", "", body, count=1, flags=re.DOTALL)  # would apply to the whole page
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # unused, and not unique in a page with two figures
    body = re.sub(r" font-family: [^;]*;", "", body)
    body = re.sub(r"#0a00[0-9a-f]{2}", lambda match: f"var({PAGE_COLOURS[match[0]]})", body)
    body = re.sub(r"\s+", " ", body)
    return f'<svg role="img" aria-label="{title}" {view_box[0]}>{body}'
