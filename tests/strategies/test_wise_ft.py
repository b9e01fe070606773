"""WiSE-FT: the mean of two networks' weights, and the share that held-out images choose."""

from pathlib import Path

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.strategies.contexts import make_context, short_settings
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import make_extractor
from transferkit.models.protocols import center_probabilities
from transferkit.strategies.finetune import fit_finetune
from transferkit.strategies.start_module import make_module
from transferkit.strategies.stops import Stop
from transferkit.strategies.wise_ft import SHARES, choose_share, mix_weights, mixed_stops


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 6, "max_test": 20}, seed=0)


@pytest.fixture
def backbone() -> Backbone:
    return tk.create_backbone("narrow_resnet10", "resnet_glyphs")


def test_the_mean_of_two_linear_models_is_the_mean_of_their_logits() -> None:
    torch.manual_seed(0)
    start, end, mean = (torch.nn.Linear(5, 3) for _ in range(3))
    mix_weights(mean, start.state_dict(), end.state_dict(), 0.3)
    x = torch.randn(4, 5)
    torch.testing.assert_close(mean(x), 0.7 * start(x) + 0.3 * end(x))


def test_the_share_with_the_highest_accuracy_then_the_lowest_loss() -> None:
    course = [np.array([[p, 1 - p]] * 4, dtype=np.float32) for p in (0.4, 0.6, 0.8)]
    assert choose_share(course, np.zeros(4, np.int64)) == 2
    assert choose_share(course, np.ones(4, np.int64)) == 0


def test_the_plan_says_which_shares_there_are() -> None:
    given = tk.load_strategy("lp_ft", ["strategy.wise_ft=0.4"])
    assert mixed_stops(given) == [Stop(1, 10, 0.4)]
    automatic = mixed_stops(tk.load_strategy("lp_ft", ["strategy.wise_ft=auto"]))
    assert [stop.share for stop in automatic] == list(SHARES)
    assert automatic[0] == Stop(0, 0, 0.0)
    assert mixed_stops(tk.load_strategy("lp_ft")) == []


@pytest.mark.parametrize("selection", ["last", pytest.param("cv", marks=pytest.mark.slow)])
def test_a_fit_ends_with_the_mean(selection: str, backbone: Backbone, data: ImageData, tmp_path: Path) -> None:
    """A given share, chosen by nobody, against the mean of the weights of two fits."""
    found = {}
    for share in ("null", "0.25"):
        settings = short_settings("finetune_few", f"selection={selection}", f"strategy.wise_ft={share}")
        settings["calibrate"]["temperature"] = False
        settings["selection"]["finetune_folds"] = 2
        context = make_context(backbone, data, settings, tmp_path / share)
        found[share] = fit_finetune(context)
    start = make_module(context, context.plan)[0].model.state_dict()  # type: ignore[arg-type]
    ours, plain = found["0.25"].model.state_dict(), found["null"].model.state_dict()
    if selection == "last":  # with folds the head starts from all images
        for name, value in ((name, value) for name, value in plain.items() if value.is_floating_point()):
            torch.testing.assert_close(ours[name], 0.75 * start[name] + 0.25 * value, msg=name)
        probabilities = center_probabilities(found["0.25"].model, data.val, make_extractor(settings))
        np.testing.assert_allclose(found["0.25"].val, probabilities, atol=1e-6)
    assert not torch.equal(ours["head.weight"], plain["head.weight"])
    facts = found["0.25"].details["wise_ft"]
    assert (facts["share"], facts["on"]) == (0.25, "val" if selection == "last" else "out of fold")
    if selection == "cv":
        assert found["0.25"].details["selection"]["chosen"].endswith(", 25 % of its weights")
        assert found["0.25"].out_of_fold is not None


def test_val_chooses_the_share(backbone: Backbone, data: ImageData, tmp_path: Path) -> None:
    fitted = fit_finetune(
        make_context(backbone, data, short_settings("finetune_few", "strategy.wise_ft=auto"), tmp_path)
    )
    rows = fitted.details["wise_ft"]["rows"]
    assert [row["share"] for row in rows] == list(SHARES)
    best = max(rows, key=lambda row: (row["top1"], -row["nll"]))
    assert fitted.details["wise_ft"]["share"] == best["share"]
    assert (fitted.val.argmax(1) == data.val.labels).mean() == pytest.approx(best["top1"])
    assert fitted.details["finetuned"] is (best["share"] > 0)
