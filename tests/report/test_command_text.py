"""Commands to copy: as sub-commands where the program was started so, and with the same meaning."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from transferkit.cli.commands import rewrite
from transferkit.report.command_text import command_of, predict_command, with_words

COMMANDS = [
    "task=predict run=RUN images=photos/",
    "task=predict run=RUN images=[a.jpg,b.jpg] task.coverage=0.9",
    "task=evaluate run=RUN dataset=folder dataset.root=photos",
    "task=evaluate run=RUN",
    "task=export run=RUN export.int8=true",
    "task=demo run=RUN",
    "task=check dataset=folder dataset.root=photos backbone=vgg16",
    "task=advise dataset=csv dataset.file=table.csv",
    "task=fit dataset=folder dataset.root=photos strategy=lp_ft epochs=5",
    "task=fit dataset=folder dataset.root='my photos'",
    "task=embed images=photos run=RUN",
    "task=compare runs=multirun",
    "dataset=folder dataset.root=photos strategy=auto",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "RUN", "my photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "table.csv").touch()


@pytest.mark.parametrize("typed", COMMANDS)
def test_the_words_are_read_as_the_same_overrides(here: None, typed: str) -> None:
    arguments = typed.split(" ") if "'" not in typed else [*typed.split(" ")[:2], "dataset.root='my photos'"]
    words = with_words(arguments)
    assert words[0] in ("predict", "evaluate", "export", "demo", "check", "advise", "fit", "embed", "compare")
    expected = {*arguments, f"task={words[0]}"}
    assert {one.replace("photos/", "photos/") for one in rewrite(words).arguments} == expected


def test_what_a_sub_command_would_read_otherwise_stays() -> None:
    assert with_words(["task=fit", "epochs=5"]) == ["task=fit", "epochs=5"]  # fit would choose a strategy
    assert with_words(["seed=1"]) == ["seed=1"]
    assert with_words(["task=predict", "run='a b'", "images=x"]) == ["predict", "run='a b'", "images=x"]


def test_the_form_is_that_in_which_the_program_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["task=predict", "run=runs/x", "images=DIR"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/transferkit"])
    assert command_of(*arguments) == "transferkit predict runs/x DIR"
    assert predict_command(Path("runs/digits/x")) == "transferkit predict latest FOLDER"
    assert predict_command(Path("elsewhere/x")) == "transferkit predict elsewhere/x DIR"
    monkeypatch.setattr(sys, "argv", ["/lib/transferkit/__main__.py"])
    assert command_of(*arguments) == shlex.join(["python", "-m", "transferkit", *arguments])
    assert predict_command(Path("runs/x")) == command_of(*arguments)


def test_help_ends_quietly_where_its_reader_has_gone() -> None:
    """As in `transferkit --help | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        command = [sys.executable, "-m", "transferkit", "--help"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")
