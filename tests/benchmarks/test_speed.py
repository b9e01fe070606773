import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.speed import ours, rivals
from benchmarks.speed.__main__ import about
from benchmarks.speed.data import Files, generated
from benchmarks.speed.networks import random_net, trained_parameters
from benchmarks.speed.options import Options, load_options
from benchmarks.speed.results import entry, goal
from benchmarks.speed.rows import ROWS, chosen
from benchmarks.speed.table import BEGIN, END, goals_markdown, markdown, replace_in
from tests.conftest import REPOSITORY
from transferkit.config.compose import load_strategy_settings

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("shown", "limits", "ratio", "met"),
    [
        ("ours/theirs", {"at_most": 1.1}, 0.5, True),
        ("ours/theirs", {"at_least": 0.9}, 0.5, False),
        ("theirs/ours", {"at_least": 2}, 2.0, True),
        ("theirs/ours", {"at_least": 2.1}, 2.0, False),
    ],
)
def test_a_goal_compares_medians(shown, limits, ratio, met):
    record = goal("a", "b", [1, 2, 90], [4], unit="s", shown=shown, **limits)
    assert (record["ratio"], record["met"]) == (ratio, met)
    assert ("**no**" in record["cells"]["reached"]) is not met


def test_tables_have_the_columns_that_hold_something(tmp_path):
    records = [entry("scale", images=3, a_b="x", empty=""), entry("scale", images=9, more="y")]
    text = markdown({"machine": "this"}, records)
    assert "- machine: this" in text
    assert "| images | a b | more |\n|---|---|---|\n| 3 | x |  |\n| 9 |  | y |" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        replace_in(page, text)
    assert page.read_text() == f"before\n{BEGIN}\n\n{text}\n\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the lines"):
        replace_in(page, text)


def test_goals_stand_in_the_page_of_goals_only():
    records = [goal("a", "b", [1], [4], unit="s", shown="ours/theirs", at_most=1, limit="9%")]
    header = "| measurement | transferkit | compared with | its result | ratio |"
    assert f"{header} goal | reached | of the limit |" in goals_markdown({"machine": "this"}, records)
    assert f"{header}\n" in markdown({"machine": "this"}, records)


@pytest.mark.parametrize("name", ["docs/benchmarks.md", "benchmarks/goals.md"])
def test_the_pages_have_the_markers(tmp_path, name):
    page = tmp_path / "benchmarks.md"
    page.write_text((REPOSITORY / name).read_text("utf-8"), "utf-8")
    replace_in(page, "tables")
    assert f"{BEGIN}\n\ntables\n\n{END}" in page.read_text("utf-8")


def test_options_come_back_as_they_were_and_no_path_is_published(tmp_path):
    options = Options(out=tmp_path, data=tmp_path / "photos", repeats=2, real_weights=tmp_path / "w.safetensors")
    options.save(tmp_path / "options.json")
    assert load_options(tmp_path / "options.json") == options
    said = about(options, "all")
    assert str(tmp_path) not in json.dumps(said)
    assert "--data DIR --backbone-weights FILE --rows all" in said["command"]


def test_generated_images_are_photographs_in_class_folders(tmp_path):
    options = Options(out=tmp_path, threads=1)
    root = generated(options, 6, 3, classes=3)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    assert len(files) == 9
    assert files[0] == "train/class0/00000.jpg"
    with Image.open(root / files[0]) as image:
        assert image.size == (500, 375)
    assert generated(options, 6, 3, classes=3) == root


def test_epochs_are_read_from_the_log():
    """Fails when transferkit's log says otherwise what the clock listens to."""
    overrides = ["dataset=digits", "dataset.per_class=4", "trainer.num_workers=0", "trainer.device=cpu"]
    phase = [
        "strategy.phases.tail.epochs=4",
        "strategy.phases.tail.min_steps=1",
        "strategy.head=random",
        "selection=val",
    ]
    epochs = ours.fit_epochs(
        load_strategy_settings("finetune_few", [*overrides, *phase, "cache.enabled=false", "backbone=resnet_glyphs"])
    )
    assert len(epochs.later) == len(epochs.busy) == 3
    assert all(0 < seconds < epochs.first + sum(epochs.later) for seconds in epochs.later)


def test_the_rivals_train_the_same_parameters(tmp_path):
    net = random_net("resnet18", Options(out=tmp_path))
    trained = trained_parameters(net, "finetune_few")
    assert trained == {name for name, _ in net.plain(2).named_parameters() if name.startswith("layer4.")}
    model = net.plain(2)
    parameters = rivals.freeze_but(model, lambda key: key in trained)
    assert sum(p.numel() for p in parameters) == sum(p.numel() for p in model.get_submodule("layer4").parameters())


def test_rivals_learn(tmp_path):
    """Two colours, told apart by any classifier of pixels."""
    labels = [i % 2 for i in range(16)]
    for i, label in enumerate(labels):
        pixels = np.full((8, 8, 3), 50 + 100 * label + i, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    names = [str(tmp_path / f"{i}.png") for i in range(16)]
    files = Files(names, labels, lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 128 - 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    rows = rivals.tutorial(model, list(model.parameters()), files, files, 8, CPU, num_workers=0, lr=0.01)
    assert rows[-1][1] == 1.0
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    tensors = rivals.in_memory(files)
    assert rivals.bare(model, list(model.parameters()), tensors, tensors, 200, CPU, "fp32", 8, lr=1e-2)[-1][2] == 1.0
    features = rivals.naive_features(nn.Flatten(), files, CPU)
    assert rivals.logistic_regression(features, features) == 1.0


def test_every_row_of_the_design_is_there():
    wanted = {"probe", "extraction-resnet18", "stages", "few-resnet18", "full-resnet18", "second", "memory", "startup"}
    assert wanted <= set(chosen(None)) < set(chosen("all")) == set(ROWS)
    assert chosen("probe,rivals") == ["probe", "rivals"]
