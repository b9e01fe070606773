import base64
import hashlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binomtest

from tests.report.conftest import MakeResult
from transferkit.data.imageset import ImageSet
from transferkit.report.classes import confuse
from transferkit.report.facts import headline
from transferkit.report.next_steps import Step, next_steps, verdict
from transferkit.report.run_page import render_report
from transferkit.report.run_result import RunResult

Ints = npt.NDArray[np.int64]

NAMES = ["ant", "bee"]


def run_with(make_result: MakeResult, labels: Ints, predicted: Ints, **metrics: Any) -> RunResult:
    test = ImageSet.from_arrays(np.zeros((len(labels), 8, 8), dtype=np.uint8), labels)
    result = make_result(NAMES, test=test, probabilities=np.eye(2, dtype=np.float32)[predicted])
    arguments = ["dataset=toys", "strategy=linear_probe", "strategy.k=1"]
    return replace(result, metrics={**result.metrics, **metrics}, arguments=arguments, run="runs/a b")


def steps_of(result: RunResult) -> list[Step]:
    predicted = result.probabilities.argmax(axis=1)
    return next_steps(result, headline(result), confuse(result.test.labels, predicted, NAMES))


def test_a_better_model_has_the_range_of_mistakes_to_expect(make_result: MakeResult) -> None:
    labels = np.arange(200) % 2
    predicted = labels.copy()
    predicted[:10] = 1 - predicted[:10]
    result = run_with(make_result, labels, predicted)
    interval = binomtest(10, 200).proportion_ci(method="wilson")
    told = " ".join(verdict(result, headline(result)))
    assert f"expect {100 * interval.low:.0f} to {100 * interval.high:.0f} mistakes" in told


def test_a_model_within_chance_of_the_baseline_is_not_usable(make_result: MakeResult) -> None:
    labels = np.arange(40) % 2
    result = run_with(make_result, labels, np.ones(40, dtype=int))
    assert verdict(result, headline(result))[0].startswith("Not usable: within chance of always predicting “ant”")
    assert "task=check" in steps_of(result)[0].command


@pytest.mark.parametrize("split", ["train", "val"])
def test_copies_of_test_images_come_first(make_result: MakeResult, split: str) -> None:
    same = {"test_in_train": 0, "test_in_val": 0, "val_in_train": 0, "other_label": 0, "examples": []}
    labels = np.arange(40) % 2
    wrong = labels.copy()
    wrong[0] = 1
    data = {"identical": {**same, f"test_in_{split}": 3}, "ignored_files": {}, "left_out": 0}
    result = run_with(make_result, labels, wrong, data=data)
    assert "3 test images also in train or val" in " ".join(verdict(result, headline(result)))
    first = steps_of(result)[0].command
    assert first == "python -m transferkit dataset=toys strategy=linear_probe strategy.k=1 dataset.on_leak=drop"


def test_commands_keep_the_data_and_name_the_run(make_result: MakeResult) -> None:
    labels = np.arange(40) % 2
    wrong = labels.copy()
    wrong[:8:2] = 1
    steps = steps_of(run_with(make_result, labels, wrong))
    assert "4 of 4 mistakes: “ant” taken for “bee”" in steps[0].text
    assert [step.command for step in steps[1:3]] == [
        "python -m transferkit dataset=toys strategy=auto",
        "python -m transferkit task=advise dataset=toys",
    ]
    assert steps[-1].command == "python -m transferkit task=predict 'run=runs/a b' images=DIR"
    perfect = steps_of(run_with(make_result, labels, labels))
    assert len(perfect) == 1
    assert "task=predict" in perfect[0].command


def test_only_the_own_script_may_run(make_result: MakeResult) -> None:
    html = render_report(make_result(NAMES))
    hashes = re.findall(r"script-src '(sha256-[^']+)'", html)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert hashes == [f"sha256-{base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()}"]
