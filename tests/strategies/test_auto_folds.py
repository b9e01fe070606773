"""strategy=auto where folds choose: what it fits, compares and selects, with strategies of a given accuracy."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.advisor.conftest import embedded
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context
from transferkit.advisor.advice import advise, known_strategies
from transferkit.advisor.choose import Outlook, Spending, expected_gain
from transferkit.advisor.gains import FINETUNING, UNMEASURED
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import make_extractor
from transferkit.models.transfer_model import TransferModel
from transferkit.report.facts import duration
from transferkit.strategies.auto import fit_auto
from transferkit.strategies.auto_folds import choose_by_folds, compare
from transferkit.strategies.auto_outcome import PROBES, account_of, selected_by_folds
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted, OutOfFold
from transferkit.strategies.registry import KINDS, fit_strategy


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 20, "max_test": 50}, seed=0)


@pytest.fixture(scope="module")
def outlook(data: ImageData) -> Outlook:
    settings = compose_settings("auto")
    advice = advise(embedded("resnet_fractals"), data, settings, make_extractor(settings), 1000)
    return Outlook(advice.evidence, advice.verdict, advice.costs)


def context(data: ImageData, run_dir: Path, **options: Any) -> Context:
    settings = compose_settings("auto")
    settings["strategy"]["auto"] |= {"budget": 1.0, **options}
    return make_context(embedded("resnet_fractals"), data, settings, run_dir)


def predictions(right: float, n: int, shift: int = 0) -> OutOfFold:
    """Right on a share of n images of two classes, all of class 0; wrong on those from `shift` on."""
    said = np.zeros(n, dtype=np.int64)
    said[(np.arange(round((1 - right) * n)) + shift) % n] = 1
    return OutOfFold(np.eye(2, dtype=np.float32)[said], np.zeros(n, dtype=np.int64), np.arange(n))


class Fake:
    """Fits nothing: each strategy is right on a given share of train and val; notes what was asked for."""

    def __init__(self, **right: float) -> None:
        self.right = {**dict.fromkeys(PROBES, 0.8), **right}
        self.names: list[str] = []
        self.folders: dict[str, Path] = {}

    def __call__(self, context: Context) -> Fitted:
        name, data = str(context.strategy["name"]), context.data
        self.names.append(name)
        self.folders[name] = context.run_dir
        n = len(data.train) + len(data.val)
        model = TransferModel(context.backbone.truncate("stage1"), torch.nn.Linear(24, 10), data.class_names)
        found = predictions(self.right[name], n)
        return Fitted(model, found.probabilities[: len(data.val)], 0, out_of_fold=found)


TUNED = (*FINETUNING, *UNMEASURED)


def test_finetuning_is_selected_for_what_it_gains_out_of_fold(
    data: ImageData, outlook: Outlook, tmp_path: Path
) -> None:
    fake = Fake(**{**dict.fromkeys(TUNED, 0.85), "finetune_many": 0.95})
    outcome = choose_by_folds(context(data, tmp_path), outlook, known_strategies(), fake)
    assert outcome.chosen.strategy == "finetune_many"
    assert outcome.chosen.gain is not None
    assert outcome.chosen.gain.measured == pytest.approx(0.15)
    assert fake.names.count("finetune_many") == 1, "what is compared is the model that is returned"
    assert fake.folders["finetune_many"] == tmp_path / "trials" / "finetune_many"
    assert "finetune_many changed out-of-fold top-1 by +15.0 points" in account_of(outcome)["why"]


def test_the_probe_stays_where_finetuning_loses(data: ImageData, outlook: Outlook, tmp_path: Path) -> None:
    outcome = choose_by_folds(context(data, tmp_path), outlook, known_strategies(), Fake(**dict.fromkeys(TUNED, 0.7)))
    assert outcome.chosen is outcome.probe
    assert outcome.best is not None
    assert outcome.best.gain is not None
    assert outcome.best.gain.measured < 0


def test_all_stages_together_are_preferred_unless_another_probe_is_clearly_better(
    data: ImageData, outlook: Outlook, tmp_path: Path
) -> None:
    def probe(**right: float) -> str:
        fake = Fake(**right)
        return choose_by_folds(context(data, tmp_path, trials=False), outlook, known_strategies(), fake).chosen.strategy

    assert probe(linear_probe=0.805) == "concat_probe"
    assert probe(linear_probe=0.9, stage_probe=0.88) == "linear_probe"
    assert probe(concat_probe=0.9) == "concat_probe"


def test_a_measured_gain_is_weighed_against_what_is_expected_over_the_same_probe(
    data: ImageData, outlook: Outlook, tmp_path: Path
) -> None:
    """Earlier cases tell the gain over the linear probe: a better probe has less to gain."""
    fake = Fake(**{**dict.fromkeys(TUNED, 0.9), "linear_probe": 0.7, "concat_probe": 0.8})
    gains = {
        entry.strategy: entry.gain.expected
        for entry in choose_by_folds(context(data, tmp_path), outlook, known_strategies(), fake).entries
        if entry.gain is not None
    }
    assert gains
    for name, expected in gains.items():
        over_linear, _ = expected_gain(outlook.evidence, outlook.verdict, name, "linear_probe")
        assert expected == pytest.approx(over_linear - 0.1)


def test_finetuning_that_earlier_cases_speak_against_is_tried_all_the_same(
    data: ImageData, outlook: Outlook, tmp_path: Path
) -> None:
    probe = outlook.evidence.top
    doubtful = {name: probe - 0.01 if name in TUNED else probe for name in outlook.verdict.contenders}
    verdict = dataclasses.replace(outlook.verdict, contenders=doubtful)
    fake = Fake(**dict.fromkeys(TUNED, 0.95))
    outcome = choose_by_folds(
        context(data, tmp_path), dataclasses.replace(outlook, verdict=verdict), known_strategies(), fake
    )
    assert outcome.chosen.strategy in TUNED


class Complementary(Fake):
    """Each strategy is right where the others are not certain: their mean is right more often than any."""

    def __call__(self, context: Context) -> Fitted:
        fitted = super().__call__(context)
        assert fitted.out_of_fold is not None
        n, place = len(fitted.out_of_fold.images), self.place(str(context.strategy["name"]))
        sure = np.arange(n) % 2 == place
        found = np.where(sure[:, None], [0.95, 0.05], [0.45, 0.55]).astype(np.float32)
        return dataclasses.replace(fitted, out_of_fold=dataclasses.replace(fitted.out_of_fold, probabilities=found))

    def place(self, name: str) -> int:
        return int(name in TUNED)


def test_the_mean_of_two_is_selected_where_it_is_better_out_of_fold(
    data: ImageData, outlook: Outlook, tmp_path: Path
) -> None:
    outcome = choose_by_folds(
        context(data, tmp_path), outlook, known_strategies(), Complementary(**dict.fromkeys(TUNED, 0.8))
    )
    assert outcome.average is not None
    assert outcome.average.wins
    assert outcome.chosen.strategy in outcome.average.shares
    tuned = [name for name in outcome.average.shares if name in TUNED]
    assert tuned
    assert len(tuned) < len(outcome.average.shares)
    said = account_of(outcome)
    assert said["chosen"] == outcome.name == "+".join(outcome.average.shares)
    assert "strategy.auto.average=false" in said["why"]
    fitted = selected_by_folds(outcome, known_strategies(), len(data.train), len(data.val))
    assert [member.share for member in fitted.members] == list(outcome.average.shares.values())
    assert fitted.val.shape == (len(data.val), 2)
    off = choose_by_folds(
        context(data, tmp_path, average=False), outlook, known_strategies(), Complementary(**dict.fromkeys(TUNED, 0.8))
    )
    assert off.average is None
    assert off.name == outcome.chosen.strategy


def test_what_there_is_no_time_for_is_named_with_its_seconds(data: ImageData, outlook: Outlook, tmp_path: Path) -> None:
    costs = {name: 1000.0 if name == "retrain" else 1.0 for name in outlook.costs}
    fake = Fake(**dict.fromkeys(TUNED, 0.8))
    outcome = choose_by_folds(
        context(data, tmp_path, budget=0.5), dataclasses.replace(outlook, costs=costs), known_strategies(), fake
    )
    assert list(outcome.skipped) == ["retrain"]
    assert len([entry for entry in outcome.entries if entry.strategy in TUNED]) == 3, "others come in its place"
    assert f"retrain ({duration(outcome.skipped['retrain'])} expected)" in account_of(outcome)["why"]


def test_no_budget_leaves_the_probe(data: ImageData, outlook: Outlook, tmp_path: Path) -> None:
    fake = Fake()
    outcome = choose_by_folds(context(data, tmp_path, budget=0.0), outlook, known_strategies(), fake)
    assert set(fake.names) == set(PROBES)
    assert outcome.skipped
    assert "budget" in account_of(outcome)["why"]


def test_an_interrupted_run_decides_by_the_seconds_of_the_first_time(
    data: ImageData, outlook: Outlook, tmp_path: Path
) -> None:
    fake = Fake(**dict.fromkeys(TUNED, 0.7))
    first = choose_by_folds(context(data, tmp_path), outlook, known_strategies(), fake)
    again = choose_by_folds(context(data, tmp_path), outlook, known_strategies(), fake)
    assert dict(first.spending.measured) == dict(again.spending.measured) != {}


def test_estimates_are_corrected_by_what_was_measured() -> None:
    costs = {"a": 10.0, "b": 20.0, "c": 70.0}
    assert Spending(costs, 0.3, {}).limit == pytest.approx(30)
    assert [Spending(costs, 0.3, {}).allows(name) for name in costs] == [True, True, False]
    slow = Spending(costs, 0.3, {"a": 40.0})
    assert slow.ratio == 4
    assert slow.limit == pytest.approx(120)
    assert slow.allows("b"), "all take four times as long, so a share of them does too"
    assert not Spending(costs, 0.3, {"a": 10.0, "b": 20.0}).allows("c")


def test_a_gain_is_that_of_the_images_both_predict() -> None:
    n = 60
    ours, theirs = predictions(0.9, n), predictions(0.8, n, shift=30)
    ours = dataclasses.replace(ours, **{key: getattr(ours, key)[10:] for key in ("probabilities", "labels", "images")})
    twice = {key: np.concatenate([getattr(theirs, key)] * 2) for key in ("probabilities", "labels", "images")}
    gain = compare(ours, OutOfFold(**twice, target=None), 0.0, float("inf"))
    difference = (ours.probabilities.argmax(1) == 0) * 1.0 - (theirs.probabilities.argmax(1) == 0)[10:]
    assert gain.measured == pytest.approx(difference.mean())
    assert gain.standard_error == pytest.approx(np.sqrt((difference**2).sum() + 1) / 50)


@pytest.mark.slow
def test_a_real_fit_on_few_images(tmp_path: Path) -> None:
    few = tk.load_data({"kind": "digits", "name": "digits", "per_class": 5, "max_test": 50}, seed=0)
    fitted = fit_strategy(dataclasses.replace(context(few, tmp_path, budget=0.0), backbone=embedded("resnet_glyphs")))
    assert KINDS["auto"] == (fit_auto.__module__, fit_auto.__name__)
    assert fitted.out_of_fold is not None
    assert fitted.val_metrics(few.val.labels)["n"] == len(few.train) + len(few.val)
    assert fitted.val_metrics(few.val.labels)["top1"] >= 0.7
    assert fitted.details["chosen"] in PROBES
    assert {trial["strategy"] for trial in fitted.details["trials"]} == set(PROBES)
    assert fitted.details["selection"]["by"] == "cv"
    assert (tmp_path / "advice.html").is_file()
