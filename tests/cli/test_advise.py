"""task=advise as a user starts it."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunCommand
from transferkit.cli.advise import next_steps


def test_it_prints_and_writes(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit(
        "task=advise",
        "dataset.per_class=8",
        "dataset.max_test=20",
        "hydra.run.dir=out",
        "trainer.num_workers=0",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[linear_probe]" in done.stdout
    assert "python -m transferkit dataset.per_class=8" in done.stdout
    advice = json.loads((tmp_path / "out" / "advice.json").read_text(encoding="utf-8"))
    assert advice["quadrant"]["strategy"] == "linear_probe"
    assert advice["dataset"] == "digits"
    problems = advice["problems"]
    assert (problems["duplicates"], problems["predicted"]) == (0, 80)
    assert 0 <= problems["labels"] <= 8
    assert f"{problems['labels']} of 80 labels are suspected to be wrong" in done.stdout
    assert "look closer: python -m transferkit dataset.per_class=8 dataset.max_test=20" in done.stdout
    assert {"quadrant", "evidence", "stages", "distance", "scores", "learning_curve", "costs", "seconds"} <= set(advice)
    assert (tmp_path / "out" / "report.html").stat().st_size > 20_000
    assert json.loads((tmp_path / "out" / "status.json").read_text(encoding="utf-8"))["status"] == "done"


@pytest.mark.parametrize(
    ("duplicates", "labels", "text"),
    [
        (0, 1, "Look at the 1 suspected label error."),
        (2, None, "Look at the 2 duplicates."),
        (1, 3, "Look at the 1 duplicate and 3 suspected label errors."),
        (0, 0, "Fit the recommended strategy."),
    ],
)
def test_the_first_step_names_the_problems_there_are(duplicates: int, labels: int | None, text: str) -> None:
    content = {"quadrant": {"recommended": "lp_ft"}, "problems": {"duplicates": duplicates, "labels": labels}}
    assert next_steps(content, [])[0].text == text


def test_a_wrong_size_is_one_message(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit("task=advise", "task.max_images=0", "hydra.run.dir=out", cwd=tmp_path)
    assert done.returncode == 1
    assert "task.max_images=0 must be" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
