"""Probes trained by gradient are those of scikit-learn on the same features, over one pass of an unchanged network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import transferkit as tk
from transferkit.backbones.backbone import Backbone
from transferkit.errors import TransferkitError
from transferkit.probes.scaling import ShrunkScaler
from transferkit.training.probe_module import ProbeModule

STAGES, CS = ["stage3", "stage5"], (0.01, 1.0)


@pytest.fixture(scope="module")
def tensors() -> dict[str, tuple[Tensor, Tensor]]:
    data = tk.load_data({"kind": "digits", "name": "digits", "per_class": 20, "max_test": 200}, seed=0)
    preprocess = network().preprocess
    return {
        name: (torch.stack([preprocess(images.image(i)) for i in range(len(images))]), torch.tensor(images.labels))
        for name, images in data.splits.items()
    }


def network() -> Backbone:
    torch.manual_seed(0)
    backbone = tk.create_backbone("narrow_resnet10", None, input_size=16, mean=0.5, std=0.25, crop_pct=1.0)
    for module in backbone.modules():  # statistics that a training mode would change, of features worth something
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
    return backbone


def loaders(tensors: Any, batch_size: int = 40) -> tuple[DataLoader[Any], DataLoader[Any]]:
    train = DataLoader(
        TensorDataset(*tensors["train"]), batch_size, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    return train, DataLoader(TensorDataset(*tensors["val"]), batch_size)


def trainer(epochs: int, **more: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(**{"max_epochs": epochs, "accelerator": "cpu", "enable_checkpointing": False, **quiet, **more})


@pytest.fixture(scope="module")
def fitted(tensors: Any) -> ProbeModule:
    module = tk.ProbeModule(network(), 10, STAGES, Cs=CS)
    trainer(250, check_val_every_n_epoch=250).fit(module, *loaders(tensors))
    return module


@torch.no_grad()
def pooled(images: Tensor, stage: str) -> np.ndarray[Any, Any]:
    states = network().eval().forward_stages(images, [stage])
    rows: np.ndarray[Any, Any] = states[stage].mean(dim=(2, 3)).numpy()  # type: ignore[union-attr]
    return rows


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("C", CS)
@torch.no_grad()
def test_scikit_learn_agrees_on_the_same_features(stage: str, C: float, fitted: ProbeModule, tensors: Any) -> None:
    train, test = (pooled(tensors[name][0], stage) for name in ("train", "test"))
    scaler = ShrunkScaler().fit(train)
    reference = LogisticRegression(C=C, tol=1e-6, max_iter=5000).fit(scaler.transform(train), tensors["train"][1])
    expected = reference.predict_proba(scaler.transform(test))
    logits = fitted.head(stage, C)(torch.from_numpy(test))
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=0.02)
    assert (logits.argmax(1).numpy() == expected.argmax(1)).mean() >= 0.99
    # The module itself computes what its plain layer does.
    own = fitted(tensors["test"][0])[stage][:, CS.index(C)]
    torch.testing.assert_close(own, logits, atol=1e-3, rtol=1e-3)


def test_linear_probe_agrees_on_the_same_features(fitted: ProbeModule, tensors: Any) -> None:
    rows = {name: pooled(tensors[name][0], "stage3") for name in tensors}
    probe = tk.LinearProbe(C=CS[1]).fit(rows["train"], tensors["train"][1].numpy())
    with torch.no_grad():
        probabilities = fitted.head("stage3", CS[1])(torch.from_numpy(rows["test"])).softmax(1)
    np.testing.assert_allclose(probabilities, probe.predict_proba(rows["test"]), atol=0.02)


def test_the_standardisation_is_that_of_all_rows(fitted: ProbeModule, tensors: Any) -> None:
    for stage, heads in fitted.heads.items():
        scaler = ShrunkScaler().fit(pooled(tensors["train"][0], stage))
        np.testing.assert_allclose(heads.mean, scaler.mean_, atol=1e-4)
        np.testing.assert_allclose(heads.scale.numpy(), scaler.scale_, rtol=1e-3)


@torch.no_grad()
def test_the_figures_of_val_are_those_of_the_heads(fitted: ProbeModule, tensors: Any) -> None:
    labels = tensors["val"][1]
    for stage in STAGES:
        rows = torch.from_numpy(pooled(tensors["val"][0], stage))
        for figures in fitted.figures[stage]:
            logits = fitted.head(stage, figures["C"])(rows)
            assert figures["val_top1"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
            nll = torch.nn.functional.cross_entropy(logits, labels)
            assert figures["val_nll"] == pytest.approx(float(nll), abs=1e-3)


@torch.no_grad()
def test_the_model_ends_with_the_best_stage(fitted: ProbeModule, tensors: Any) -> None:
    every = [(row["val_top1"], -row["val_nll"], stage, row["C"]) for stage in STAGES for row in fitted.figures[stage]]
    best = max(every)
    assert fitted.best == best[2:]
    model = fitted.model()
    assert model.backbone.stage_names[-1] == best[2]
    assert fitted.trainer.callback_metrics["val_top1"] == pytest.approx(best[0])
    assert fitted.trainer.callback_metrics["val_loss"] == pytest.approx(-best[1])
    right = (model(tensors["val"][0]).argmax(1) == tensors["val"][1]).float().mean()
    assert float(right) == pytest.approx(best[0])
    assert fitted.model("stage3", 0.01).backbone.stage_names[-1] == "stage3"


def test_the_logged_training_loss_is_the_best_heads(tensors: Any) -> None:
    module = ProbeModule(network(), 10, STAGES, Cs=CS, optimizer={"name": "sgd", "lr": 1e-9})
    fit = trainer(1)
    fit.fit(module, *loaders(tensors))
    assert fit.callback_metrics["train_loss"] == pytest.approx(np.log(10), abs=1e-3)  # nothing learned yet
    assert {"val_loss", "val_top1", "val_score"} <= set(fit.callback_metrics)


def test_the_backbone_keeps_every_bit(tensors: Any) -> None:
    backbone = network().train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    module = ProbeModule(backbone, 10, STAGES)
    module.train()
    assert not any(part.training for part in module.backbone.modules())
    trainer(2).fit(module, *loaders(tensors))
    assert all(torch.equal(value, backbone.state_dict()[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_all_stages_cost_one_pass(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = network()
    module = ProbeModule(backbone, 10, ["stage1", "stage3", "stage4"])
    calls = dict.fromkeys(backbone.stage_names, 0)
    run = Backbone._run

    def counted(self: Backbone, state: Any, names: Any) -> Any:
        for name in names:
            calls[name] += 1
        return run(self, state, names)

    monkeypatch.setattr(Backbone, "_run", counted)  # of copies, too
    train, val = loaders(tensors)
    trainer(2, num_sanity_val_steps=0).fit(module, train, val)
    batches = 2 * (len(train) + len(val))
    assert calls == {name: batches if name in ("stage1", "stage2", "stage3", "stage4") else 0 for name in calls}


@torch.no_grad()
def test_one_probe_of_all_stages_together(tensors: Any) -> None:
    module = ProbeModule(network(), 10, STAGES, pool="grid2", combine="concat", Cs=[0.1])
    trainer(60).fit(module, *loaders(tensors))
    assert list(module.figures) == ["stage3+stage5"]
    model = module.model()
    states = network().eval().forward_stages(tensors["test"][0], STAGES)
    rows = [torch.nn.functional.adaptive_avg_pool2d(states[s], min(2, states[s].shape[2])).flatten(1) for s in STAGES]  # type: ignore[arg-type, union-attr]
    torch.testing.assert_close(model(tensors["test"][0]), module.head("stage3+stage5")(torch.cat(rows, 1)))


def test_features_that_do_not_vary_are_harmless(tensors: Any) -> None:
    backbone = network()
    with torch.no_grad():
        for parameter in backbone.stages["stage3"].parameters():
            parameter.zero_()
    module = ProbeModule(backbone, 10, ["stage3", "stage5"])
    fit = trainer(2)
    fit.fit(module, *loaders(tensors))
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Images of unknown number."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __iter__(self) -> Any:
        return iter(zip(self.images, self.labels, strict=True))


def test_a_stream_needs_the_number_of_images(tensors: Any) -> None:
    train, val = DataLoader(Stream(*tensors["train"]), 50), loaders(tensors)[1]
    with pytest.raises(TransferkitError, match=r"number of training images.*num_images=N"):
        trainer(-1, max_steps=4).fit(ProbeModule(network(), 10), train, val)
    module = ProbeModule(network(), 10, num_images=200)
    trainer(-1, max_steps=4).fit(module, train, val)
    assert module.best[0] == "stage5"


def test_without_val_C_must_be_named(tensors: Any) -> None:
    module = ProbeModule(network(), 10, STAGES, Cs=CS)
    trainer(1).fit(module, loaders(tensors)[0])
    assert module.head("stage3", 0.01).out_features == 10
    with pytest.raises(TransferkitError, match="name C"):
        module.head("stage3")


def test_it_goes_on_from_a_checkpoint_of_the_same_probes(tensors: Any, tmp_path: Path) -> None:
    def fit(resume: Path | None = None, **changes: Any) -> ProbeModule:
        module = ProbeModule(network(), 10, STAGES, **{"Cs": CS, **changes})
        keep = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, enable_version_counter=False)
        run = trainer(4, enable_checkpointing=True, callbacks=[keep])
        in_order = DataLoader(TensorDataset(*tensors["train"]), 40)
        run.fit(module, in_order, loaders(tensors)[1], ckpt_path=resume, weights_only=True)
        return module

    whole = fit()
    resumed = fit(tmp_path / "epoch=1.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    with pytest.raises(TransferkitError, match="other probes: Cs"):
        fit(tmp_path / "epoch=1.ckpt", Cs=(0.5, 1.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ["stage9"]}, "stage9"),
        ({"stages": ["fc*"]}, "names none of stage1"),
        ({"Cs": [0.0]}, "Cs=.* must be a list of numbers above 0"),
        ({"Cs": 45}, "Cs=45 must be a list of numbers above 0"),
        ({"pool": "mean"}, "pool=mean must be auto, avg, max"),
        ({"combine": "all"}, "combine=all must be best or concat"),
    ],
)
def test_what_cannot_be_used(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        ProbeModule(network(), 10, **changes)


def test_a_C_or_a_stage_that_was_not_trained(fitted: ProbeModule) -> None:
    with pytest.raises(TransferkitError, match=r"C=3 was not trained: 0\.01, 1\."):
        fitted.head("stage3", 3)
    with pytest.raises(TransferkitError, match="no probe 'stage4'"):
        fitted.head("stage4")
