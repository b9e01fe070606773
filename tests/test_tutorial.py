"""The tutorial's commands run in the order of the page, and the programs in the docs run after them, as they stand."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY, RunCommand
from tests.processes import PythonStarter

TUTORIAL = REPOSITORY / "docs/tutorial.md"
PROGRAMS = [TUTORIAL, REPOSITORY / "README.md", REPOSITORY / "docs/library.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


SMALL = "backbone=efficientnet_lite0 backbone.input_size=96"
"""Added to the commands of the page, since smaller images are quicker."""


def commands() -> list[str]:
    return [line for block in blocks(TUTORIAL, "bash") for line in block.replace("\\\n", "").splitlines()]


def picture(rng: np.random.Generator, name: str) -> Image.Image:
    """Brown upright stripes for ants, yellow level ones for bees."""
    stripes = rng.integers(60, 200, (1, 6, 1) if name == "ants" else (6, 1, 1))
    colour = np.array([1, 0.4, 0.2] if name == "ants" else [1.2, 1.2, 0.1])
    pixels = np.kron(stripes * colour, np.ones((120, 20, 1) if name == "ants" else (20, 120, 1)))
    return Image.fromarray((pixels + rng.normal(0, 5, pixels.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def walked(transferkit: RunCommand, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder in which all commands of the tutorial have run, and what each printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(10):
            picture(rng, name).save(folder / "photos" / name / f"{number}.png")
    (folder / "new_photos").mkdir()
    for number, name in ((1, "ants"), (2, "bees")):
        picture(rng, name).save(folder / "new_photos" / f"{number}.jpg")
    printed = {}
    for command in commands():
        program, *arguments = shlex.split(command)
        assert program == "transferkit"
        small = [word for one in arguments for word in (SMALL.split() if SMALL.startswith(f"{one} ") else [one])]
        done = transferkit(*small, cwd=folder)
        assert done.returncode == 0, command + done.stdout + done.stderr
        printed[command] = done.stdout
    return folder, printed


@pytest.mark.slow
def test_the_steps_leave_what_the_page_says(walked: tuple[Path, dict[str, str]]) -> None:
    folder, printed = walked
    assert len(printed) == 6
    assert (folder / "runs/first/report.html").is_file()
    assert re.search(r"test top-1 +100\.00 %", next(text for line, text in printed.items() if " fit " in line))
    (table,) = folder.glob("runs/predict/*/predictions.csv")
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    assert "known" in header.split(",")
    assert [row.split(",")[1] for row in sorted(rows)] == ["ants", "bees"]


@pytest.mark.slow
@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_a_program_in_the_docs_runs_as_it_stands(
    page: Path, walked: tuple[Path, dict[str, str]], python: PythonStarter
) -> None:
    program = blocks(page, "python")[0]
    done = python.run("-c", program, cwd=walked[0])
    assert done.returncode == 0, program + done.stderr
    if page != PROGRAMS[2]:
        assert done.stdout.startswith("ants")
