"""A mean of several strategies as a run: artifact, metrics, report and predictions."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

import transferkit as tk
from tests.advisor.conftest import embedded
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context
from transferkit.advisor.advice import known_strategies
from transferkit.artifact import open_artifact
from transferkit.cli.fit_average import write_average
from transferkit.cli.fit_members import single
from transferkit.config.compose import load_strategy_settings
from transferkit.errors import TransferkitError
from transferkit.metrics import compute_metrics
from transferkit.models.ensemble import EnsembleModel
from transferkit.strategies.context import UNAUGMENTED
from transferkit.strategies.fitted import FittedMember
from transferkit.strategies.registry import fit_strategy


def test_the_mean_of_two_probes(tmp_path: Path) -> None:
    data = tk.load_data({"kind": "digits", "name": "digits", "per_class": 5, "max_test": 40}, seed=0)
    context = make_context(embedded("resnet_glyphs"), data, compose_settings("auto"), tmp_path)
    strategies, shares = known_strategies(), {"linear_probe": 0.75, "nearest_neighbor": 0.25}
    members = [
        FittedMember(strategies[name], share, fit_strategy(context.with_strategy(strategies[name], **UNAUGMENTED)))
        for name, share in shares.items()
    ]
    first = members[0].fitted
    about = {"chosen": "linear_probe+nearest_neighbor", "choice": {"why": "Selected: for this test."}}
    write_average(context, dataclasses.replace(first, members=members, details=about))
    model = tk.load_model(tmp_path)
    assert isinstance(model, EnsembleModel)
    assert model.shares.tolist() == pytest.approx(list(shares.values()))
    images = [data.test.image(i) for i in range(40)]
    found = np.stack([prediction.probabilities for prediction in model.predict(images)])
    each = [np.stack([p.probabilities for p in member.predict(images)]) for member in model.models]
    np.testing.assert_allclose(found, 0.75 * each[0] + 0.25 * each[1], rtol=1e-4)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["test"]["nll"] == pytest.approx(compute_metrics(found, data.test.labels)["nll"], rel=1e-3)
    assert metrics["strategy"] == "auto"
    assert metrics["chosen"] == about["chosen"]
    assert metrics["val"]["n"] == 50, "out of fold"
    assert [row["share"] for row in metrics["ensemble"]["members"]] == list(shares.values())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Selected: for this test." in page
    assert re.search(r"75.?%", page)
    assert open_artifact(tmp_path / "members/linear_probe").metadata["strategy"]["name"] == "linear_probe"
    with pytest.raises(TransferkitError, match=r"members/linear_probe.*average=false"):
        open_artifact(tmp_path)


def test_a_member_of_an_ensemble_of_seeds_is_one_model() -> None:
    strategy = load_strategy_settings("auto")["strategy"]
    assert strategy["auto"]["average"]
    assert not single(strategy)["auto"]["average"]
    probe = load_strategy_settings("linear_probe")["strategy"]
    assert single(probe) == probe
