"""An ensemble is the mean of its members' probabilities; its artifact refuses what was changed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import transferkit as tk
from transferkit.artifact import open_artifact
from transferkit.ensemble_artifact import write_ensemble
from transferkit.errors import TransferkitError
from transferkit.models.ensemble import EnsembleModel
from transferkit.models.soup import check_ingredients, greedy_soup, uniform_soup
from transferkit.models.transfer_model import TransferModel, load_model, save_model
from transferkit.targets.multilabel_target import MultilabelTarget
from transferkit.targets.ordinal_target import OrdinalTarget
from transferkit.targets.regression_target import RegressionTarget

CLASSES = ["a", "b", "c"]


def member(seed: int, **changes: float) -> TransferModel:
    torch.manual_seed(seed)
    backbone = tk.create_backbone("narrow_resnet10", weights="resnet_glyphs", **changes)  # type: ignore[arg-type]
    return TransferModel(backbone, nn.Linear(192, 3), CLASSES, ["stage5"]).eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An ensemble of two networks that preprocess images differently."""
    for place, model in enumerate([member(0), member(1, crop_pct=0.8)], start=1):
        save_model(tmp_path / "members" / str(place), model)
    write_ensemble(tmp_path, [tmp_path / "members/1", tmp_path / "members/2"], [0.1, 0.2, 0.3], seed=0)
    return tmp_path


def photo() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_loaded_ensemble_gives_the_mean_of_the_members(saved: Path) -> None:
    loaded = tk.load_model(saved)
    assert isinstance(loaded, EnsembleModel)
    (prediction,) = loaded.predict([photo()], coverage=0.75)
    with torch.inference_mode():
        each = [load_model(saved / f"members/{i}") for i in (1, 2)]
        expected = np.mean([m(m.preprocess(photo())[None]).softmax(1)[0].numpy() for m in each], axis=0)
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-5)
    assert prediction.label == CLASSES[int(expected.argmax())]
    # Of 3 scores the ceil(4 * 0.75)-rd is 0.3: the set has the classes of at least 0.7.
    wanted = {name for name, p in zip(CLASSES, expected, strict=True) if p >= 0.7} | {prediction.label}
    assert set(prediction.classes or ()) == wanted
    with pytest.raises(TransferkitError, match="preprocess images differently"):
        loaded.predict([torch.zeros(3, 32, 32)])


def test_as_a_module_it_gives_the_logarithm_of_the_mean() -> None:
    models = [member(0), member(1)]
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = (models[0](images).softmax(1) + models[1](images).softmax(1)) / 2
        torch.testing.assert_close(EnsembleModel(models)(images).exp(), expected)


TARGETS = {
    "multilabel": MultilabelTarget(("a", "b", "c")),
    "ordinal": OrdinalTarget(("a", "b", "c")),
    "regression": RegressionTarget(("a", "b"), (1.0, -2.0), (0.5, 3.0)),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_of_any_target_the_outputs_are_averaged(kind: str, tmp_path: Path) -> None:
    """The mean is of outputs; as a module the ensemble gives logits that have these outputs."""
    target = TARGETS[kind]
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        backbone = tk.create_backbone("narrow_resnet10", weights="resnet_glyphs")
        models.append(TransferModel(backbone, nn.Linear(192, target.width), target, ["stage5"]).eval())
        save_model(tmp_path / "members" / str(seed), models[-1])
    write_ensemble(tmp_path, [tmp_path / "members/0", tmp_path / "members/1"], None)
    loaded = tk.load_model(tmp_path)
    with torch.inference_mode():
        inputs = models[0].preprocess(photo())[None]
        expected = torch.stack([model.target.outputs(model(inputs)) for model in models]).mean(dim=0)
        torch.testing.assert_close(loaded.target.outputs(loaded(inputs)), expected)
    (prediction,) = loaded.predict([photo()])
    np.testing.assert_allclose(target.outputs_of(prediction), expected[0].numpy(), rtol=1e-5)
    with pytest.raises(TransferkitError, match="coverage is for models of classes"):
        loaded.predict([photo()], coverage=0.9)
    with pytest.raises(TransferkitError, match="need one target: one predicts"):
        EnsembleModel([models[0], member(0)])


def test_members_of_another_scale_are_averaged_in_their_units() -> None:
    torch.manual_seed(0)
    backbone, head = tk.create_backbone("narrow_resnet10", weights="resnet_glyphs"), nn.Linear(192, 1)
    scaled = [RegressionTarget(("a",), (mean,), (std,)) for mean, std in ((0.0, 1.0), (10.0, 2.0))]
    models = [TransferModel(backbone, head, target, ["stage5"]).eval() for target in scaled]
    (found,), (first,) = EnsembleModel(models).predict([photo()]), models[0].predict([photo()])
    assert found.value == pytest.approx((first.value + 2 * first.value + 10) / 2, rel=1e-5)


def test_shares_weigh_the_members(saved: Path) -> None:
    write_ensemble(saved, [saved / "members/1", saved / "members/2"], None, [0.75, 0.25])
    loaded = tk.load_model(saved)
    (prediction,) = loaded.predict([photo()])
    assert isinstance(loaded, EnsembleModel)
    first, second = (model.predict([photo()])[0].probabilities for model in loaded.models)
    np.testing.assert_allclose(prediction.probabilities, 0.75 * first + 0.25 * second, rtol=1e-5)
    models, images = [member(0), member(1)], torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = 0.75 * models[0](images).softmax(1) + 0.25 * models[1](images).softmax(1)
        torch.testing.assert_close(EnsembleModel(models, shares=[3, 1])(images).exp(), expected)


@pytest.mark.parametrize("shares", [[0.5], [0.9, 0.9], [1.5, -0.5]])
def test_shares_that_are_none_are_refused(saved: Path, shares: list[float]) -> None:
    write_ensemble(saved, [saved / "members/1", saved / "members/2"], None, shares)
    with pytest.raises(TransferkitError, match=r"ensemble\.json is damaged"):
        tk.load_model(saved)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "ensemble.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("folder", ["../other", "/tmp", "members/..", "members/a/b"])
def test_a_member_elsewhere_is_refused(saved: Path, folder: str) -> None:
    first = json.loads((saved / "ensemble.json").read_text())["members"][0]
    edit(saved, members=[{**first, "folder": folder}])
    with pytest.raises(TransferkitError, match=r"ensemble\.json is damaged.*members\.0\.folder"):
        tk.load_model(saved)


def test_changed_files_are_refused(saved: Path) -> None:
    before = (saved / "ensemble.json").read_text()
    edit(saved, seed=1)
    with pytest.raises(TransferkitError, match="SHA-256"):
        tk.load_model(saved)
    (saved / "ensemble.json").write_text(before)
    save_model(saved / "members/2", member(2))
    with pytest.raises(TransferkitError, match="members/2 is another model"):
        tk.load_model(saved)
    (saved / "members/2/model.safetensors").unlink()
    with pytest.raises(TransferkitError, match=r"model\.safetensors"):
        tk.load_model(saved)


def test_where_one_model_is_wanted_a_member_is_named(saved: Path) -> None:
    with pytest.raises(TransferkitError, match=r"holds an ensemble.*members/1"):
        open_artifact(saved)


def test_a_soup_has_the_mean_weights() -> None:
    models = [member(seed) for seed in range(3)]
    with torch.no_grad():
        for number, model in enumerate(models):
            next(iter(model.backbone.parameters())).add_(number)
    expected = {
        name: torch.stack([model.state_dict()[name].double() for model in models]).mean(0)
        for name, value in models[0].state_dict().items()
        if value.is_floating_point()
    }
    soup = uniform_soup(models).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(soup[name].double(), value, rtol=1e-4, atol=1e-5)


def test_a_greedy_soup_leaves_out_what_makes_val_worse() -> None:
    """The accuracy is a stand-in that any bias above 1 ruins: the third model, whose bias is 30."""
    biases = [0.0, 0.6, 30.0, 0.3]
    models = [member(0) for _ in biases]
    for model, bias in zip(models, biases, strict=True):
        nn.init.constant_(model.head.bias, bias)  # type: ignore[arg-type]

    def score(model: TransferModel) -> float:
        return float(model.head.bias.max() < 1)  # type: ignore[operator]

    soup, kept = greedy_soup(models, score)
    assert kept == [0, 1, 3]
    torch.testing.assert_close(soup.head.bias.data, torch.full((3,), 0.3))


def test_only_models_of_one_initialisation_make_a_soup(tmp_path: Path) -> None:
    strategies = {"a": {"phases": {}, "head": "probe"}, "b": {"phases": {}, "head": "random"}}
    for name, strategy in strategies.items():
        for seed in (0, 1):
            save_model(tmp_path / f"{name}{seed}", member(seed), strategy=strategy, seed=seed)
    save_model(tmp_path / "cropped", member(0, crop_pct=0.8), seed=0)
    opened = {path.name: open_artifact(path) for path in tmp_path.iterdir()}
    check_ingredients([opened["a0"], opened["a1"]])
    with pytest.raises(TransferkitError, match="starts from random weights of its own seed"):
        check_ingredients([opened["b0"], opened["b1"]])
    with pytest.raises(TransferkitError, match="differ in preprocessing"):
        check_ingredients([opened["a0"], opened["cropped"]])
