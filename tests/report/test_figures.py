import re
import warnings
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from tests.report.test_examples import decode
from transferkit.metrics import Bin
from transferkit.report.classes import Confusion
from transferkit.report.figures import (
    HIT,
    MISS,
    confusion_picture,
    depth_figure,
    history_figure,
    reliability_figure,
    sweep_figure,
)

SWEEP = {
    stage: [{"C": 10.0**i, "val_top1": 0.5 + 0.01 * i, "val_nll": 1.0} for i in range(-6, 6)]
    for stage in ("stage3", "stage5")
}


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg.replace("<svg", '<svg xmlns:xlink="x"', 1))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter("text")]


@pytest.mark.parametrize("stages", [["stage5"], ["stage3", "stage5"]])
def test_sweep_has_a_line_a_stage_and_marks_the_chosen_C(stages):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = sweep_figure({stage: SWEEP[stage] for stage in stages}, {stages[0]: 0.1})
    for number, stage in enumerate(stages, 1):
        lines = re.findall(rf'd="(M[^"]*)" clip-path="[^"]*" style="fill: none; stroke: var\(--line{number}\)', svg)
        assert [line.count("L") for line in lines] == [11]
        assert (stage in texts(svg)) == (len(stages) > 1)  # a legend for one line says nothing
    dots = [use for use in parsed(svg).iter("use") if use.get("style", "").startswith("fill: var(--line")]
    assert len(dots) == 1
    assert "10⁻²" in texts(svg)


def test_the_curve_over_the_depth_marks_the_chosen_stage():
    top1 = {"stage1": 0.5, "stage2": 0.75, "fc7": 0.625}
    svg = depth_figure(top1, "stage2")
    assert set(top1) <= set(texts(svg))
    (line,) = re.findall(r'd="(M[^"]*)" clip-path="[^"]*" style="fill: none; stroke: var\(--line1\)', svg)
    points = [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", line)]
    heights = [y for _, y in points]  # SVG counts downwards
    assert (heights[0] - heights[2]) / (heights[0] - heights[1]) == pytest.approx(0.5, abs=1e-3)
    dots = [(float(use.get("x", "nan")), float(use.get("y", "nan"))) for use in parsed(svg).iter("use")]
    assert dots.count(points[1]) == 2  # its own, and the large one
    assert dots.count(points[0]) == dots.count(points[2]) == 1


@pytest.mark.parametrize("missing", [None, "train_loss"])
def test_training_curves_have_a_line_a_phase(missing):
    history = [
        {"phase": phase, "epoch": epoch, "lr": 0.1, "train_loss": 1 / epoch, "val_loss": 1.1, "val_top1": 0.5}
        for phase, epochs in (("head", 3), ("tail", 4))
        for epoch in range(1, epochs + 1)
    ]
    if missing:
        history[1][missing] = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = history_figure(history, {"head": 2, "tail": 0})
    assert {"head", "tail", "train", "val", "epoch", "loss"} <= set(texts(svg))
    val = re.findall(r'd="(M[^"]*)" clip-path="[^"]*" style="fill: none; stroke: var\(--line2\)', svg)
    assert [line.count("L") for line in val] == [2, 3, 2, 3]  # loss of both phases, then top-1 of both
    before = {"head": {"val_loss": 0.5, "val_top1": 0.4}}
    svg = history_figure(history, {"head": 0, "tail": 2}, before)
    val = re.findall(r'd="(M[^"]*)" clip-path="[^"]*" style="fill: none; stroke: var\(--line2\)', svg)
    assert [line.count("L") for line in val] == [3, 3, 3, 3]  # the phase `head` from its epoch 0
    one = [{"epoch": 1, "train_loss": 0.3, "val_loss": 0.2, "val_top1": 0.9}]
    assert "head" not in texts(history_figure(one, {}))


def test_figures_take_colours_and_fonts_from_the_page():
    history = [{"phase": "all", "epoch": 1, "train_loss": 0.3, "val_loss": 0.2, "val_top1": 0.9}]
    drawn = sweep_figure(SWEEP, {}), reliability_figure([Bin(0.6, 0.8, 3, 0.7, 0.5)])
    for svg in (*drawn, depth_figure({"stage1": 0.1, "stage2": 0.2}, "stage2"), history_figure(history, {"all": 1})):
        assert not re.search(r"#[0-9a-f]{6}\b|font-family|https?:|<style|<g id=", svg)
        assert {"var(--ink)", "var(--line1)"} <= set(re.findall(r"var\([^)]*\)", svg))
        assert parsed(svg).get("aria-label")


def test_reliability_has_two_bars_a_bin():
    bins = [Bin(0.4, 0.6, 1, 0.5, 0.0), Bin(0.6, 0.8, 3, 0.7, 0.5), Bin(0.8, 1.0, 9, 0.9, 1.0)]
    svg = reliability_figure(bins)
    assert svg.count("opacity: 0.35") == 2 * len(bins)


def test_the_users_own_matplotlib_settings_neither_matter_nor_change():
    plain = sweep_figure(SWEEP, {})
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert sweep_figure(SWEEP, {}) == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_picture_of_the_matrix():
    shares = np.eye(60)
    shares[3] = np.eye(60)[7] * 0.25 + np.eye(60)[3] * 0.75
    shares[5] = 0  # no test images
    pixels = np.asarray(decode(confusion_picture(Confusion([""] * 60, shares.astype(int), shares))))
    assert pixels.shape == (60, 60, 4)
    assert tuple(pixels[0, 0]) == (*HIT, 255)
    assert tuple(pixels[3, 7, :3]) == MISS
    assert 0 < pixels[3, 7, 3] < pixels[3, 3, 3] < 255
    assert (pixels[..., 3] > 0).sum() == (shares > 0).sum()


def test_picture_of_very_many_classes_is_bounded_and_loses_no_mistake():
    shares = np.eye(1001)
    shares[1000], shares[2] = np.eye(1001)[0], np.eye(1001)[999]
    pixels = np.asarray(decode(confusion_picture(Confusion([""] * 1001, shares.astype(int), shares))))
    assert max(pixels.shape) <= 250
    assert tuple(pixels[-1, 0]) == (*MISS, 255)
    assert tuple(pixels[0, (999 // 5)]) == (*MISS, 255)
    assert (pixels[..., 3] > 0).sum() == len(pixels) + 1  # the diagonal without its last point, and both mistakes
