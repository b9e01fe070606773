import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tests.report.conftest import predictions
from tests.report.html_page import Page
from transferkit.data.imageset import ImageSet
from transferkit.report.run_page import render_report, write_report


def shown(share: float) -> str:
    return f"{100 * share:.1f}\u202f%"


def render(result) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return render_report(result)


@pytest.mark.parametrize("num_classes", [2, 3, 12, 13, 40, 41, 200])
def test_every_number_of_classes_gives_a_page_that_loads_nothing(make_result, num_classes):
    result = make_result([f"class {i}" for i in range(num_classes)], n=2 * num_classes + 1)
    html = render(result)
    page = Page(html)
    assert not re.search(r"https?:|//\w|@import|url\((?!#)", re.sub(r'"data:[^"]*"', "", html))
    assert page.tags.count("script") == 1  # the own one
    assert all(value.startswith("data:image/") for value in page.values("img", "src"))
    assert all(value.startswith("#") for value in page.values("a", "href"))
    assert len(page.values("img", "alt")) == page.tags.count("img") > 0
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert {href[1:] for href in page.values("a", "href")} <= set(ids)
    assert ("Confusion matrix" in page.tables) == (num_classes <= 40)
    assert ("Most frequent confusions" in page.tables) == (num_classes > 12)


def test_headline_and_results(make_result):
    result = make_result(["ant", "bee", "cat", "dog", "elk", "fox"], n=77)
    page, test = Page(render(result)), result.metrics["test"]
    correct = int((result.probabilities.argmax(axis=1) == result.test.labels).sum())
    assert f"{shown(correct / 77)} of 77 test images were classified correctly".replace("\u202f", " ") in page.text
    assert f"{correct} of 77 held-out images are correct" in page.text
    for fact in ("toys, 6 classes", "resnet50", "IMAGENET1K_V2", "linear_probe", "linear, on stage5 (2048 features)"):
        assert fact in page.text
    header, *rows = page.tables["Results"]
    assert header == ["Metric", "val", "test"]
    values = {row[0]: row[1:] for row in rows}
    key = next(name for name in values if name.startswith("Top-1"))
    assert values[key] == [shown(0.8765), shown(test["top1"])]
    assert next(v for k, v in values.items() if k.startswith("Negative"))[1] == f"{test['nll']:.3f}"
    assert values["Images"] == ["4,321", "77"]


def test_imagenets_names_are_shown_where_there_are_any(make_result):
    result = make_result(["ants", "bees"])
    assert "ImageNet" not in Page(render(result)).text
    names = {"ants": {"name": "ant, emmet, pismire", "count": 23, "images": 30}}
    table = Page(render(replace(result, metrics={**result.metrics, "imagenet_names": names}))).tables[
        "ImageNet's names"
    ]
    assert table[1:] == [["ants", "ant, emmet, pismire", shown(23 / 30), "23 of 30"]]


def test_confusion_matrix_counts(make_result):
    result = make_result(["ant", "bee", "cat"], n=80)
    header, *rows = Page(render(result)).tables["Confusion matrix"]
    assert header[1:] == ["ant", "bee", "cat"]
    counts = [[int(cell) for cell in row[1:]] for row in rows]
    assert counts == confusion_matrix(result.test.labels, result.probabilities.argmax(axis=1)).tolist()


def test_figures_per_class_worst_first(make_result):
    result = make_result([f"class {i}" for i in range(20)], n=200)
    rows = [row for row in Page(render(result)).tables["Metrics per class"] if row[0] != "Class"]
    precision, recall, f1, support = precision_recall_fscore_support(
        result.test.labels, result.probabilities.argmax(axis=1), labels=range(20)
    )
    expected = {
        f"class {i}": [shown(precision[i]), shown(recall[i]), shown(f1[i]), str(100 + i), str(50 + i), str(support[i])]
        for i in range(20)
    }
    assert {row[0]: row[1:] for row in rows} == expected
    assert rows[0][0] == f"class {np.lexsort((recall, f1))[0]}"


def test_cost_choice_and_repetition(make_result):
    page = Page(render(make_result(["ant", "bee"])))
    assert "250 of 1,000,000 parameters were trained (0.025 %)" in page.text
    assert ["total", "1 min 15 s"] in page.tables["Time"]
    assert "10 for stage5" in page.text
    assert "python -m transferkit dataset=toys seed=7" in page.text
    assert "root: photos" in page.text
    assert "Cut 60/20/20, stratified." in page.text


def test_stages_that_were_tried(make_result):
    result = make_result(["ant", "bee"])
    stages = {
        "stage4": {"C": 0.1, "val_top1": 0.94, "val_nll": 0.2, "features": 1024},
        "stage5": {"C": 10.0, "val_top1": 0.9, "val_nll": 0.3, "features": 2048},
    }
    metrics = {**result.metrics, "stages": stages, "stage": "stage4", "pool": "max"}
    sweep = {"stage4": result.sweep["stage5"], "stage5": result.sweep["stage5"]}
    page = Page(render(replace(result, metrics=metrics, sweep=sweep)))
    assert page.tables["Stages"][1:] == [
        ["stage4", "1024", "0.1", shown(0.94)],
        ["stage5", "2048", "10", shown(0.9)],
    ]
    assert "stage4 was selected on val" in page.text
    assert "linear, on stage4 (1024 features, pooled by max)" in page.text
    without_C = replace(result, metrics=metrics, sweep={})
    assert Page(render(without_C)).tables["Stages"][1] == ["stage4", "1024", shown(0.94)]
    assert "Accuracy by stage" not in Page(render(result)).text


def test_training_curves(make_result):
    history = [
        {"phase": phase, "epoch": epoch, "lr": 0.1, "train_loss": 1.0, "val_loss": 1.1, "val_top1": 0.5}
        for phase in ("head", "tail")
        for epoch in (1, 2)
    ]
    result = make_result(["ant", "bee"])
    metrics = {**result.metrics, "phases": {"head": {"best_epoch": 2}, "tail": {"best_epoch": 0}}}
    page = Page(render(replace(result, history=history, metrics=metrics)))
    assert "4 epochs in 2 successive phases (head 2, tail 2)." in page.text
    assert "no dot if the weights before" in page.text
    metrics["phases"]["head"]["before"] = {"val_top1": 0.2, "val_loss": 2.0}
    page = Page(render(replace(result, history=history, metrics=metrics)))
    assert "epoch 0 is the state before the phase" in page.text
    assert "Training" not in [word.strip() for word in Page(render(result)).words]


def test_identical_images_and_ignored_files_are_told(make_result):
    examples = [["<b>1.png (train, ant)", "2.png (test, ant)"]]
    facts = {"test_in_train": 3, "test_in_val": 0, "val_in_train": 0, "other_label": 1, "examples": examples}
    result = make_result(["ant", "bee"])
    metrics = {**result.metrics, "data": {"identical": facts, "ignored_files": {".heic": 2}, "left_out": 0}}
    text = Page(render(replace(result, metrics=metrics))).text
    assert "3 images of test are also in train (same content)" in text
    assert "1 image is under different labels" in text
    assert "2 files were not read: 2 .heic." in text
    assert "<b>1.png (train, ant) = 2.png (test, ant)" in text


def test_text_from_the_user_is_never_markup(make_result):
    evil = "<script>alert('x')</script>"
    result = make_result([evil, '" onload="x', "猫 & 狗"], n=30)
    result = replace(result, command=evil, split_note=evil, metrics={**result.metrics, "dataset": evil})
    html = render(result)
    page = Page(html)
    assert page.tags.count("script") == 1  # the own one
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count(evil) > 5
    assert evil not in html
    assert "猫 & 狗" in page.text


def test_file_names_with_markup_or_invalid_bytes_are_shown(make_result, tmp_path):
    names = [tmp_path / "<b>.jpg", tmp_path / "caf\udce9.jpg"]
    result = make_result(["a", "b"], test=ImageSet.from_files(names, [0, 1]))
    write_report(tmp_path / "report.html", result)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.text.count("cannot be read") == 2
    assert "<b>.jpg" in page.text


def test_one_image(make_result):
    result = make_result(["ant", "bee"], n=1, probabilities=np.array([[0.7, 0.3]], dtype=np.float32))
    page = Page(render(result))
    assert "100.0 % of 1 test image was classified correctly" in page.text
    assert "Every test image was classified correctly." in page.text


def test_nothing_right(make_result):
    test = ImageSet.from_arrays(np.zeros((4, 40, 30), dtype=np.uint8), [0, 0, 1, 1])
    page = Page(render(make_result(["ant", "bee"], test=test, probabilities=np.eye(2, dtype=np.float32)[[1, 1, 0, 0]])))
    assert "0.0 % of 4 test images" in page.text
    assert "All 4 mistakes, the most confident first." in page.text
    assert page.tags.count("img") == 4


def test_result_without_val_sweep_and_stages(make_result):
    result = make_result(["ant", "bee", "cat"])
    metrics = {key: result.metrics[key] for key in ("test", "dataset", "num_classes", "seconds")}
    counts = {"test": result.class_counts["test"]}
    page = Page(render(replace(result, metrics=metrics, sweep={}, class_counts=counts)))
    assert page.tables["Results"][0] == ["Metric", "test"]
    assert "model selection" not in page.text
    assert "Regularisation strength" not in page.text


def test_size_is_bounded(make_result):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 1500)
    noise = ImageSet.from_arrays(rng.integers(0, 256, (40, 150, 150, 3), dtype=np.uint8), np.zeros(40, dtype=int))
    test = noise.subset(np.arange(1500) % 40).relabel(labels)
    names = [f"class {i} with a rather long name, and a synonym" for i in range(1000)]
    html = render(make_result(names, test=test, probabilities=predictions(labels, 1000)))
    assert html.count("data:image/jpeg") == 60
    assert re.search(r"36 of \d+ mistakes, the most confident first", Page(html).text)
    assert len(html.encode()) < 2_500_000


def test_an_older_report_is_replaced_and_nothing_else_is_left(make_result, tmp_path):
    (tmp_path / "report.html").write_text("old")
    write_report(tmp_path / "report.html", make_result(["ant", "bee"]))
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
