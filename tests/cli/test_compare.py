import csv
import json
from pathlib import Path

import pytest

from tests.conftest import Run
from transferkit.cli.compare import main
from transferkit.errors import TransferkitError


def test_a_real_run_is_compared(default_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    main({"runs": str(default_run.folder.parents[2]), "task": {"confidence": 0.95}}, tmp_path)
    metrics = default_run.json("metrics.json")
    (row,) = csv.DictReader((tmp_path / "compare.csv").read_text().splitlines())
    (part,) = json.loads((tmp_path / "compare.json").read_text())["test_sets"]
    assert (row["strategy"], row["dataset"], row["settings"]) == ("linear_probe", "digits", "")
    assert float(row["test_top1"]) == metrics["test"]["top1"]
    assert float(row["images_per_class"]) == round((1797 - metrics["test"]["n"]) / 10, 1)
    assert part["groups"][0]["runs"][0]["folder"] == str(default_run.folder)
    assert "linear_probe" in (tmp_path / "report.html").read_text()
    assert f"{100 * metrics['test']['top1']:.1f}" in caplog.text


def test_without_a_folder_there_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="runs=DIR"):
        main({"runs": None}, tmp_path)
