from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.ensembles import cases, fit_members, measure, table


def record(seed: int, top1: float, mean: float, best: float) -> dict[str, Any]:
    gains = {"mean_top1": mean, "gain_over_mean": top1 - mean, "gain_over_best": top1 - best}
    cost = {"disagreement": 0.2, "passes": 3, "seconds": 10.0}
    own = [{"nll": 0.4}, {"nll": 0.6}]
    return {
        "per_class": "5",
        "seed": seed,
        "method": "seeds",
        "top1": top1,
        "nll": 0.3,
        "members": own,
        **gains,
        **cost,
    }


def test_gains_are_over_the_mean_and_over_the_best_member() -> None:
    lines = table([record(0, 0.9, 0.85, 0.88), record(1, 0.8, 0.73, 0.81)])
    assert lines[-1] == "| 5 | seeds | 85.0 | 79.0 | +6.0 ± 1.0 | +0.5 ± 1.5 | 0.300 | 0.500 | 20.0 % | 3 | 10 | 2 |"


def test_members_are_joined_as_their_artifacts_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Namespace(
        **{"strategy": "lp_ft", "seeds": 1, "per_class": ["5"], "quick": True, "out": tmp_path, "members": 2},
        **{
            "kinds": ["seeds", "uniform_soup", "snapshots"],
            "overrides": ["dataset.max_test=40", "schedule=constant", "optimizer.lr_scale=30"],
        },
    )
    seeds, soup, snapshots = cases(options)
    found = measure(seeds, options)
    members = fit_members(seeds, options)
    test = members.contexts[0].data.test
    inputs = torch.stack([model.preprocess(test[i][0]) for model in members.models() for i in range(len(test))])
    with torch.inference_mode():
        each = [model(part).softmax(1).numpy() for model, part in zip(members.models(), inputs.chunk(2), strict=True)]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    assert found["top1"] == pytest.approx(np.mean(np.mean(each, axis=0).argmax(1) == test.labels))
    assert [m["top1"] for m in found["members"]] == pytest.approx([np.mean(p.argmax(1) == test.labels) for p in each])
    assert found["disagreement"] == pytest.approx(np.mean(each[0].argmax(1) != each[1].argmax(1)))
    monkeypatch.setattr("benchmarks.fits.fit_strategy", None)  # the soup is of the same members
    assert measure(soup, options)["passes"] == 1
    assert "schedule.cycles=2" in snapshots.overrides
