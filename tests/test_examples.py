"""Every program in examples/ runs as it stands, in an empty folder."""

import re
import runpy
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Run
from tests.processes import PythonStarter

EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))


def run_example(python: PythonStarter, path: Path, cwd: Path) -> str:
    done = python.run(path, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_says_what_it_is_and_its_command(path: Path) -> None:
    assert f"Command: python examples/{path.name}" in path.read_text(encoding="utf-8")


def test_the_probe_example_reaches_what_it_claims(python: PythonStarter, tmp_path: Path) -> None:
    output = run_example(python, REPOSITORY / "examples/probe_in_your_code.py", tmp_path)
    accuracy = re.search(r"test accuracy (\S+)", output)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.97


def test_the_example_of_duplicates_finds_what_it_claims() -> None:
    main = runpy.run_path(str(REPOSITORY / "examples/find_duplicates_and_wrong_labels.py"))["main"]
    copies, wrong_labels = main()
    assert copies >= 19
    assert wrong_labels >= 18


@pytest.mark.slow
def test_the_finetuning_example_reaches_what_it_claims(python: PythonStarter, tmp_path: Path) -> None:
    output = run_example(python, REPOSITORY / "examples/finetune_in_your_trainer.py", tmp_path)
    assert "top: trains stage5, head" in output
    accuracy = re.search(r"test accuracy (\S+)", output)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.97


def test_a_step_and_a_prediction_of_a_detector_on_a_runs_backbone(default_run: Run) -> None:
    main = runpy.run_path(str(REPOSITORY / "examples/detect_with_faster_rcnn.py"))["main"]
    first, last, share = main(str(default_run.folder), steps=2)
    assert 0 < last < first
    assert 0 <= share <= 1


def test_a_decoder_of_captions_learns(default_run: Run) -> None:
    main = runpy.run_path(str(REPOSITORY / "examples/caption_images.py"))["main"]
    first, last, share = main(str(default_run.folder), images=320, epochs=3)
    assert last < 0.5 * first
    assert 0 <= share <= 1
