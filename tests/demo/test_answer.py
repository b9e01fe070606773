"""The answer for models that have no heat map or no classes."""

import numpy as np
import torch
from PIL import Image

import transferkit as tk
from transferkit.demo.answer import answer
from transferkit.demo.demo_page import Tried, demo_page
from transferkit.models.ensemble import EnsembleModel
from transferkit.models.transfer_model import TransferModel
from transferkit.targets.target_kinds import make_target

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
ABOUT = Tried("net", {"Network": "net"}, False, False)


def made_model(names: list[str], described: dict[str, object] | None = None, stage: str = "stage3") -> TransferModel:
    torch.manual_seed(0)
    backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs").truncate(stage)
    head = torch.nn.Linear(backbone.width(stage), len(names))
    return TransferModel(backbone, head, make_target(names, described)).eval()


def test_a_map_of_enough_places_has_a_heat_map() -> None:
    found = answer(made_model(["a", "b"]), PICTURE, "x.png", "gone")
    assert found.heat is not None
    assert found.heat_text == f"bright: what raises the score of {found.label} (Grad-CAM)"
    assert found.no_near == "gone"
    assert found.known is None
    assert "<img" in demo_page(ABOUT, found)


def test_an_ensemble_gives_the_mean() -> None:
    models = [made_model(["a", "b"]), made_model(["a", "b"], stage="stage4")]
    found = answer(EnsembleModel(models).eval(), PICTURE, "x.png", "an ensemble")
    mean = np.mean([one.predict([PICTURE])[0].probabilities for one in models], axis=0)
    np.testing.assert_allclose([share for _, _, share in found.rows], np.sort(mean)[::-1], atol=1e-6)
    assert found.heat is None
    assert "ensemble" in found.heat_text


def test_several_labels_and_numbers() -> None:
    labels = answer(made_model(["a", "b", "c"], {"kind": "multilabel"}), PICTURE, "x.png", "gone")
    assert sorted(name for name, _, _ in labels.rows) == ["a", "b", "c"]
    assert labels.rows[0][2] >= labels.rows[1][2] >= labels.rows[2][2]
    assert "several at once" in labels.heat_text
    model = made_model(["length"], {"kind": "regression", "mean": [2.0], "std": [3.0]})
    numbers = answer(model, PICTURE, "x.png", "gone")
    assert numbers.rows[0][:2] == ("length", f"{model.predict([PICTURE])[0].value:.4g}")
    assert numbers.rows[0][1] in demo_page(ABOUT, numbers)
