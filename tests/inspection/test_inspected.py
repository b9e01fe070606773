"""The tables, the text and the page of an inspection."""

import csv
import json
from pathlib import Path

import pytest

from tests.conftest import compose_settings
from transferkit.cli.inspect import main
from transferkit.errors import TransferkitError
from transferkit.inspection.amounts import count, memory
from transferkit.inspection.describe_network import describe_network
from transferkit.inspection.inspect_page import render_inspection
from transferkit.inspection.inspect_text import inspection_text
from transferkit.inspection.inspected import Inspected


@pytest.fixture(scope="module")
def inspected() -> Inspected:
    return describe_network(compose_settings("finetune_few", "backbone=vgg16"), None, None)


def test_the_text_fits_80_columns(inspected: Inspected) -> None:
    text = inspection_text(inspected, "all")
    assert max(map(len, text.splitlines())) <= 80
    assert "138,357,544 parameters" in text
    assert "…" not in text
    assert next(line for line in text.splitlines() if line.startswith("features")).split()[0] == "features.0"
    folded = inspection_text(inspected, None)
    assert "features.0" not in folded
    assert "features.5" not in inspection_text(inspected, ["stage1"])
    with pytest.raises(TransferkitError, match=r"inspect\.unfold: there is no stage 'stage9'"):
        inspection_text(inspected, ["stage9"])


def test_freezing_saves(inspected: Inspected) -> None:
    """The top of VGG16 has most parameters and few activations."""
    whole, tail = inspected.costs
    assert tail.trained == ("stage5", "fc6", "fc7", "head")
    assert tail.kept_values < 0.05 * whole.kept_values
    assert tail.parameters > 0.9 * whole.parameters
    assert whole.kept_values == pytest.approx(inspected.total.values, rel=0.01)  # every output once


def test_the_page(inspected: Inspected) -> None:
    page = render_inspection(inspected, "python -m transferkit task=inspect backbone=vgg16")
    assert "102,760,448" in page
    assert page.count('<details class="layers" open>') == 8
    assert "Filters of the first" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_task_with_images(tmp_path: Path) -> None:
    settings = compose_settings("finetune_few", "backbone=resnet_glyphs", "dataset.per_class=4")
    settings["inspect"] |= {"images": 8}
    settings["choices"] = []
    main(settings, tmp_path)
    with (tmp_path / "layers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((tmp_path / "inspect.json").read_text(encoding="utf-8"))
    assert sum(int(row["parameters"]) for row in rows) == content["total"]["parameters"]
    assert sum(float(row["share_of_multiply_adds"]) for row in rows) == pytest.approx(1, abs=1e-3)
    assert [step["phase"] for step in content["training"]["steps"]] == ["all stages", "tail"]
    with (tmp_path / "statistics.csv").open(encoding="utf-8", newline="") as file:
        statistics = list(csv.DictReader(file))
    assert all(float(row["std"]) >= 0 for row in statistics)
    assert sum(bool(row["gradient_norm"]) for row in statistics) > 10
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Filters of the first convolution" in page
    assert page.count('class="spark"') == len(statistics)


def test_numbers() -> None:
    assert [count(n) for n in (0, 1728, 99_999, 589_824, 9_990_000, 102_760_448)] == [
        *("0", "1,728", "99,999", "590 k", "9.99 M", "102.8 M"),
    ]
    assert [memory(n) for n in (12, 4096, 12_845_056, 553e6)] == ["12 B", "4.1 kB", "12.8 MB", "553 MB"]
