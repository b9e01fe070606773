"""Tab completion: words, run directories and keys, by the program and in bash."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, RunCommand
from transferkit.cli.completion import install_script, suggestions

BASH = shutil.which("bash")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos/ants").mkdir(parents=True)
    run = tmp_path / "runs/digits/r/2026"
    run.mkdir(parents=True)
    (run / "status.json").touch()
    (run / "model.json").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "word", "found"),
    [
        ([], "pre", ["predict", "pretrain"]),
        (["seed=1"], "comp", ["compare"]),
        (["fit"], "ph", ["photos/"]),
        (["fit"], "photos/", ["photos/ants/"]),
        (["fit"], "flo", ["flowers"]),
        (["predict"], "", ["latest", "runs/digits/r/2026"]),
        (["predict", "latest"], "p", ["photos/"]),
        (["predict", "latest", "photos"], "ru", ["runs/"]),
        (["task=predict"], "run=ru", ["run=runs/digits/r/2026"]),
        ([], "backbone.weights=", ["backbone.weights=runs/digits/r/2026"]),
        (["inspect"], "vgg16", ["vgg16", "vgg16_bn", "vgg16_c"]),
        (["fit", "photos"], "back", []),
    ],
)
def test_what_may_stand_there(here: Path, words: list[str], word: str, found: list[str]) -> None:
    assert suggestions(words, word)[0] == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("transferkit fit photos strategy=linear_", "strategy=linear_probe"),
        ("transferkit fit photos strategy=finetune_few strategy.phases.tail.ep", "strategy.phases.tail.epochs="),
        ("python -m transferkit dataset=digi", "dataset=digits"),
        ("python -m transferkit task=predict run=", "run=latest"),
    ],
)
def test_the_program_answers(here: Path, transferkit: RunCommand, line: str, found: str) -> None:
    done = transferkit("-sc", "query=bash", cwd=here, env={"COMP_LINE": line, "COMP_POINT": str(len(line))})
    assert found in done.stdout.split(), done.stderr


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "found"),
    [(["run", "=", "la"], ["latest"]), (["adv"], ["advise"]), (["predict", "lat"], ["latest"])],
    ids=lambda value: " ".join(value),
)
def test_bash_replaces_what_follows_the_sign(here: Path, words: list[str], found: list[str]) -> None:
    line = "python -m transferkit " + " ".join(words).replace(" = ", "=")
    state = f"COMP_LINE={line!r} COMP_POINT={len(line)} COMP_WORDBREAKS='=:'"
    state += f" COMP_WORDS=({sys.executable} -m transferkit {' '.join(words)})"
    show = "_transferkit_complete; printf '%s\\n' \"${COMPREPLY[@]}\""
    script = f"{install_script(['python'])}\n{state}\n{show}"
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([str(BASH), "-c", script], capture_output=True, text=True, cwd=here, env=environment)
    assert done.stdout.split() == found, done.stderr
