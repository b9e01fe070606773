"""Sub-commands: what becomes of their words, and what is told about words that are none."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose

import transferkit as tk
from tests.conftest import RunCommand
from transferkit.cli.commands import COMMANDS, quoted, rewrite, unknown_word, usage
from transferkit.cli.help import help_text
from transferkit.cli.job import TASKS
from transferkit.config.choice_files import choices, top_level_keys
from transferkit.config.compose import own_hydra
from transferkit.config.schema import Job
from transferkit.errors import TransferkitError

ODD_NAMES = [
    *(
        "my photos",
        "it's",
        'say "cheese"',
        "a=b",
        "2024",
        "null",
        "1e3",
        ".5",
        "a,b",
        "[x]",
        "${HOME}",
        "$x",
        "back\\slash",
    ),
    *("end\\", "été", "{a}", "seed=1 (copy)", "#1", "tab\there"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "RUN").mkdir()
    (tmp_path / "table.csv").touch()
    return tmp_path


def composed(arguments: list[str]) -> Any:
    with own_hydra():
        return compose("config", overrides=arguments)


def refused(*arguments: str) -> str:
    with pytest.raises(TransferkitError) as error:
        rewrite(arguments)
    return str(error.value)


@pytest.mark.parametrize(
    ("typed", "overrides"),
    [
        ("fit photos/", "task=fit dataset=folder dataset.root=photos/"),
        ("fit table.csv", "task=fit dataset=csv dataset.file=table.csv"),
        ("fit flowers backbone=vgg16", "task=fit dataset=flowers backbone=vgg16"),
        ("fit", "task=fit"),
        ("backbone=vgg16 advise photos", "task=advise dataset=folder dataset.root=photos backbone=vgg16"),
        ("-m fit photos seed=1,2", "task=fit dataset=folder dataset.root=photos -m seed=1,2"),
        ("--cfg job check", "task=check --cfg job"),
        ("predict RUN photos/", "task=predict run=RUN images=photos/"),
        ("predict RUN a.jpg b.jpg", "task=predict run=RUN images=[a.jpg,b.jpg]"),
        ("predict run=RUN photos", "task=predict images=photos run=RUN"),
        ("evaluate RUN", "task=evaluate run=RUN"),
        ("evaluate RUN photos", "task=evaluate run=RUN dataset=folder dataset.root=photos"),
        ("compare", "task=compare runs=runs"),
        ("compare runs=other", "task=compare runs=other"),
        ("compare runs multirun", "task=compare runs=[runs,multirun]"),
        ("inspect vgg16", "task=inspect backbone=vgg16"),
        ("inspect vgg16 resnet50", "task=inspect inspect.compare=[vgg16,resnet50]"),
        ("export RUN export.int8=true", "task=export run=RUN export.int8=true"),
        ("embed photos ~logger", "task=embed images=photos ~logger"),
        ("task=fit seed=3", "task=fit seed=3"),
        ("fit photos strategy=lp_ft epochs=5", "task=fit dataset=folder dataset.root=photos strategy=lp_ft epochs=5"),
    ],
)  # fmt: skip
def test_the_overrides_of_a_sub_command(here: Path, typed: str, overrides: str) -> None:
    assert rewrite(typed.split()).arguments == overrides.split()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_arrives_as_it_is(here: Path, name: str) -> None:
    (here / name).mkdir()
    word = f"./{name}" if name.split("=")[0] in top_level_keys() else name
    assert composed(rewrite(["fit", word]).arguments).dataset.root == word
    assert composed([f"images={quoted(word)}"]).images == word


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("fti photos", "Did you mean transferkit fit?"),
        ("photos", "Did you mean transferkit fit photos?"),
        ("vgg16", "Did you mean backbone=vgg16?"),
        ("dataset.root", "dataset.root=VALUE"),
        ("fit phots", "phots: there is no such folder or table, and no data set of that name. Did you mean photos"),
        ("fit photos photos", "more than it takes"),
        ("fit photos dataset=digits", "give one"),
        ("fit photos dataset.root=RUN", "sets dataset.root"),
        ("fit task=advise", "leave out task="),
        ("predict", "RUN_DIR is missing"),
        ("predict RUN", "IMAGES is missing"),
        ("predict nowhere photos", "no such run directory"),
        ("evaluate latest", "no finished run"),
        ("cache all", "more than it takes"),
    ],
)
def test_one_message_says_what_was_meant(here: Path, typed: str, told: str) -> None:
    assert told in refused(*typed.split())


def test_a_picture_is_no_data_set(here: Path) -> None:
    (here / "a.png").touch()
    assert "one sub-folder per class" in refused("fit", "a.png")


def test_every_task_has_a_sub_command_and_every_key_is_known() -> None:
    assert set(COMMANDS) == set(TASKS) == set(choices("task"))
    assert {*Job.model_fields, "cache"} >= {*top_level_keys()}  # the tasks bring the others
    for name in COMMANDS:
        assert name in unknown_word("nothing")
        assert usage(name).startswith(f"transferkit {name}")


def test_latest_is_the_run_that_was_done_last(here: Path) -> None:
    for age, (name, status) in enumerate([("b", "failed"), ("c", "done"), ("a", "done"), ("evaluate", "done")]):
        folder = here / "runs/x" / name
        folder.mkdir(parents=True)
        (folder / "status.json").write_text(f'{{"status": "{status}"}}')
        if name != "evaluate":
            (folder / "model.json").touch()
        os.utime(folder / "status.json", (1e9 - age, 1e9 - age))
    found = rewrite(["task=evaluate", "run=latest"])
    assert found.arguments == ["task=evaluate", "run=runs/x/c"]
    assert found.notes == ["latest: runs/x/c"]
    assert rewrite(["predict", "latest", "photos"]).arguments[1] == "run=runs/x/c"


def test_epochs_without_a_strategy_finetune(here: Path) -> None:
    found = rewrite(["fit", "photos", "epochs=5"])
    assert "strategy=finetune_few" in found.arguments
    assert "strategy=finetune_few" in found.notes[0]
    assert not rewrite(["fit", "photos", "epochs=5", "strategy=lp_ft"]).notes


def test_the_path_of_a_person_from_images_to_predictions(transferkit: RunCommand, tmp_path: Path) -> None:
    """Fit and predict with words alone; a folder with spaces, quotes and = in its name."""
    data = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    folder = tmp_path / "it's = 'mine'"
    for label in (0, 1):
        (folder / str(label)).mkdir(parents=True)
    for i in range(len(data.train)):
        if data.train.labels[i] < 2 and i < 120:
            data.train.image(i).save(folder / str(data.train.labels[i]) / f"{i}.png")
    fast = ["backbone=resnet_glyphs", "trainer.device=cpu", "trainer.num_workers=0", "calibrate.temperature=false"]
    done = transferkit("fit", folder.name, *fast, "epochs=1", "lr=1e-3", "selection=val", cwd=tmp_path)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "strategy=finetune_few, since epochs and lr are given" in printed
    assert "epochs=1 sets strategy.phases.tail.{epochs=1, min_steps=0}" in printed
    assert re.search(r"Phase tail: 1 epochs .*stage5 \(0.0002\), head \(0.001\)", printed)
    done = transferkit("predict", "latest", f"{folder.name}/1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"latest: runs/it_s____mine_/narrow_resnet10/finetune_few/\S+", done.stderr)
    assert len(list((tmp_path / "runs/predict").glob("*/predictions.csv"))) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_sub_command(name: str) -> None:
    told = help_text([name, "--help"])
    assert told.startswith(usage(name))
    for argument in COMMANDS[name].arguments:
        assert argument.text in told
