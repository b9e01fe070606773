"""strategy=auto where val chooses: what it tries, takes and says, with a fake and with the real strategies."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.advisor.conftest import embedded
from tests.conftest import compose_settings
from tests.processes import PythonStarter
from tests.strategies.contexts import make_context
from transferkit.advisor.advice import Advice, advise, known_strategies
from transferkit.advisor.gains import FINETUNING, UNMEASURED
from transferkit.advisor.quadrant import judge
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import make_extractor
from transferkit.models.transfer_model import TransferModel
from transferkit.report.facts import duration
from transferkit.strategies import auto
from transferkit.strategies.auto import choose_and_fit
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted
from transferkit.strategies.registry import fit_strategy
from transferkit.strategies.trials import Trial, ranked, shortened, winner


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 20, "max_test": 50}, seed=0)


def context(data: ImageData, run_dir: Path, network: str = "resnet_fractals", **options: Any) -> Context:
    settings = compose_settings("auto", "selection=val")
    settings["strategy"]["auto"] |= options
    return make_context(embedded(network), data, settings, run_dir)


@pytest.fixture(autouse=True)
def advice_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure each network once for the whole module: what is decided from it is tested here."""

    def remembered(backbone: Backbone, data: ImageData, *rest: Any) -> Advice:
        key = backbone.weights_name, len(data.train)
        if key not in MEASURED:
            MEASURED[key] = advise(backbone, data, *rest)
        return MEASURED[key]

    monkeypatch.setattr(auto, "advise", remembered)


MEASURED: dict[tuple[str, int], Advice] = {}


class Fake:
    """Fits nothing: each strategy is right on a given share of val; notes what was asked for."""

    def __init__(self, right: dict[str, float]) -> None:
        self.right = right
        self.asked: list[tuple[str, int]] = []
        self.strategies: dict[str, Any] = {}

    def __call__(self, context: Context) -> Fitted:
        name, data = str(context.strategy["name"]), context.data
        steps = sum(phase["min_steps"] for phase in context.strategy.get("phases", {}).values())
        self.asked.append((name, steps))
        self.strategies[name] = context.strategy
        n, classes = len(data.val), len(data.class_names)
        said = data.val.labels.copy()
        wrong = n - round(self.right[name] * n)
        said[:wrong] = (said[:wrong] + 1) % classes
        model = TransferModel(context.backbone.truncate("stage1"), torch.nn.Linear(24, classes), data.class_names)
        return Fitted(model, np.eye(classes, dtype=np.float32)[said], 0, details={"stage": name})

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


TUNED = (*FINETUNING, *UNMEASURED)
PROBES = {"linear_probe": 0.8, "nearest_neighbor": 0.8, "stage_probe": 0.8}


def test_the_best_of_the_trials_is_fitted_in_full(data: ImageData, tmp_path: Path) -> None:
    fake = Fake({**PROBES, "retrain": 0.85, "finetune_many": 0.95, "lp_ft": 0.9})
    fitted = choose_and_fit(context(data, tmp_path, budget=1.0), fake)
    assert fitted.details["chosen"] == "finetune_many"
    steps = known_strategies()["finetune_many"]["phases"]["tail"]["min_steps"]
    assert fake.asked[-1] == ("finetune_many", steps), "in full"
    assert max(steps for _, steps in fake.asked[:3]) < steps / 2
    assert {trial["strategy"] for trial in fitted.details["trials"]} == {"retrain", "finetune_many", "lp_ft"}
    assert not (tmp_path / "trials").exists()
    assert (tmp_path / "advice.html").is_file()


def test_the_probe_stays_where_finetuning_gains_nothing(data: ImageData, tmp_path: Path) -> None:
    fake = Fake({**PROBES, "retrain": 0.75, "finetune_many": 0.75, "lp_ft": 0.75})
    fitted = choose_and_fit(context(data, tmp_path, budget=1.0), fake)
    assert fitted.details["chosen"] in PROBES
    assert fitted.details["choice"]["gain"]["measured"] < 0


def test_similar_data_cost_no_trial(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = advise(embedded("resnet_glyphs"), data, settings := compose_settings(), make_extractor(settings), 1000)
    evidence = dataclasses.replace(advice.evidence, probes=dict.fromkeys(advice.evidence.probes, 0.99), neighbors=0.99)
    similar = dataclasses.replace(advice, evidence=evidence, verdict=judge(evidence))
    monkeypatch.setattr(auto, "advise", lambda *_: similar)
    fake = Fake({**PROBES, "finetune_few": 1.0})
    fitted = choose_and_fit(context(data, tmp_path, network="resnet_glyphs", budget=1.0), fake)
    assert fake.names == ["linear_probe"]
    assert fitted.details["trials"] == []
    assert "not expected to gain a point" in fitted.details["choice"]["why"]


def test_no_budget_leaves_the_probe(data: ImageData, tmp_path: Path) -> None:
    fake = Fake(PROBES)
    fitted = choose_and_fit(context(data, tmp_path, budget=0.0), fake)
    assert set(fake.names) <= set(PROBES)
    choice = fitted.details["choice"]
    assert "finetuning would cost more than the budget allows" in choice["why"]
    assert f"no time for retrain ({duration(choice['skipped']['retrain'])} expected)" in choice["why"]


def test_many_small_images_of_another_kind_may_be_trained_from_scratch(tmp_path: Path) -> None:
    """The costs are those of an earlier attempt, so that they are the same on any machine."""
    many = tk.load_data({"kind": "digits", "name": "digits"}, seed=0)
    costs = {**dict.fromkeys(known_strategies(), 10.0), "from_scratch": 60.0}
    assert 0.25 * sum(costs.values()) < 60 < 90 < 0.5 * sum(costs.values())
    for name in ("auto", "quarter"):
        (tmp_path / name / "trials").mkdir(parents=True)
        (tmp_path / name / "trials/costs.json").write_text(json.dumps(costs))
    fake = Fake({**PROBES, **dict.fromkeys(TUNED, 0.9), "from_scratch": 0.97})
    fitted = choose_and_fit(context(many, tmp_path / "auto"), fake)
    assert fitted.details["chosen"] == "from_scratch"
    assert [trial["strategy"] for trial in fitted.details["trials"]][:2] == ["retrain", "from_scratch"]
    fake = Fake({**PROBES, **dict.fromkeys(TUNED, 0.9)})
    fitted = choose_and_fit(context(many, tmp_path / "quarter", budget=0.25), fake)
    assert "from_scratch" not in fake.names
    assert "no time for from_scratch (1 min 00 s expected)" in fitted.details["choice"]["why"]


def test_without_trials_the_first_contender_is_fitted(data: ImageData, tmp_path: Path) -> None:
    fake = Fake({**PROBES, **dict.fromkeys(TUNED, 1.0)})
    fitted = choose_and_fit(context(data, tmp_path, budget=1.0, trials=False), fake)
    assert fitted.details["trials"] == []
    assert len(fake.asked) == 2
    assert fitted.details["chosen"] == fake.names[-1]


def test_close_trials_are_repeated_for_longer(data: ImageData, tmp_path: Path) -> None:
    fake = Fake({**PROBES, "retrain": 0.5, "finetune_many": 0.95, "lp_ft": 0.95})
    fitted = choose_and_fit(context(data, tmp_path, budget=1.0), fake)
    longer = [trial["strategy"] for trial in fitted.details["trials"] if trial["share"] == 0.5]
    assert sorted(longer) == ["finetune_many", "lp_ft"]


def test_neighbours_that_lead_are_fitted(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = advise(embedded("resnet_glyphs"), data, settings := compose_settings(), make_extractor(settings), 1000)
    evidence = dataclasses.replace(advice.evidence, probes=dict.fromkeys(advice.evidence.probes, 0.8), neighbors=0.95)
    led = dataclasses.replace(advice, evidence=evidence, verdict=judge(evidence))
    monkeypatch.setattr(auto, "advise", lambda *_: led)
    fitted = choose_and_fit(context(data, tmp_path, network="resnet_glyphs", budget=0.0), fit_strategy)
    assert fitted.details["chosen"] == "nearest_neighbor"


def test_a_val_that_decides_nothing_gets_no_trials(tmp_path: Path) -> None:
    few = tk.load_data({"kind": "digits", "name": "digits", "per_class": 10, "max_test": 50}, seed=0)
    fake = Fake({**PROBES, **dict.fromkeys(TUNED, 1.0)})
    fitted = choose_and_fit(context(few, tmp_path, budget=1.0), fake)
    assert len(few.val) < 30
    assert fitted.details["trials"] == []
    assert len(fake.names) <= 2
    assert "too small to compare" in fitted.details["choice"]["why"]


def test_a_resumed_run_decides_by_the_costs_of_the_first_attempt(data: ImageData, tmp_path: Path) -> None:
    (tmp_path / "trials").mkdir()
    costs = dict.fromkeys((*PROBES, *TUNED), 1.0)
    costs["finetune_many"] = costs["lp_ft"] = costs["retrain"] = 1e4  # each by itself beyond 0.3 of them all
    (tmp_path / "trials" / "costs.json").write_text(json.dumps(costs), encoding="utf-8")
    fake = Fake({**PROBES, **dict.fromkeys(TUNED, 1.0)})
    choose_and_fit(context(data, tmp_path, budget=0.3), fake)
    assert "finetune_few" in fake.names
    assert not {"finetune_many", "lp_ft", "retrain"} & set(fake.names)


def test_details_are_plain(data: ImageData, tmp_path: Path) -> None:
    fake = Fake({**PROBES, "retrain": 0.85, "finetune_many": 0.95, "lp_ft": 0.9})
    details = choose_and_fit(context(data, tmp_path, budget=1.0), fake).details
    assert json.loads(json.dumps(details, allow_nan=False))["advice"]["quadrant"]["recommended"]


def test_a_shortened_strategy_keeps_everything_else() -> None:
    phase = {"epochs": 10, "min_steps": 200, "train": {"head": 1.0}}
    strategy: dict[str, Any] = {"name": "x", "phases": {"a": phase, "b": None}}
    short = shortened(strategy, 0.25)
    assert short["phases"]["a"] == {"epochs": 2, "min_steps": 50, "train": {"head": 1.0}}
    assert phase["epochs"] == 10


def test_the_longest_trials_decide_and_equal_ones_go_by_loss() -> None:
    first = [Trial("a", 0.25, 0.9, 0.3), Trial("b", 0.25, 0.9, 0.2), Trial("c", 0.25, 0.95, 0.9)]
    assert [trial.strategy for trial in ranked(first)] == ["c", "b", "a"]
    longer = [dataclasses.replace(first[0], share=0.5), dataclasses.replace(first[1], share=0.5, val_top1=0.1)]
    assert winner([*first, *longer]) == "a"


ARGUMENTS = [
    *("strategy=auto", "strategy.auto.budget=1", "strategy.auto.contenders=2", "strategy.auto.share=0.1"),
    *(
        "backbone=resnet_fractals",
        "dataset=digits",
        "dataset.per_class=16",
        "dataset.max_test=60",
        "trainer.num_workers=0",
        "trainer.device=cpu",
        "selection=val",
    ),
]


SHORT_FITS = """
from transferkit.report.facts import duration
from transferkit.strategies import auto
from transferkit.strategies.trials import shortened

def short_strategies(whole=auto.known_strategies):
    return {name: shortened(one, 0.2) if "phases" in one else one for name, one in whole().items()}

auto.known_strategies = short_strategies
from transferkit.__main__ import main
main()
"""
"""The command line, with shorter trials and fits."""


@pytest.mark.slow
def test_killed_in_a_trial_it_ends_with_the_same_metrics(python: PythonStarter, tmp_path: Path) -> None:
    command = ["-c", SHORT_FITS, *ARGUMENTS]
    process = python.start(*command, "hydra.run.dir=killed", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not any((tmp_path / "killed" / "trials").glob("*/checkpoints/*/*.ckpt")):
        assert process.poll() is None, "it ended before the trial"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert not (tmp_path / "killed" / "metrics.json").exists()
    metrics = []
    for folder in ("killed", "uninterrupted"):
        done = python.run(*command, f"hydra.run.dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        metrics.append(json.loads((tmp_path / folder / "metrics.json").read_text()))
    resumed, uninterrupted = metrics
    assert uninterrupted["trials"]
    for key in ("test", "val", "chosen", "trials"):
        assert resumed[key] == uninterrupted[key], key
