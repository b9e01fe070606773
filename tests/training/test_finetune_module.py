"""The executor, against plain PyTorch: what is trained, how fast, and what is left alone."""

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import transferkit as tk
from transferkit.errors import TransferkitError
from transferkit.features.frozen_network import FrozenStages
from transferkit.training.finetune_module import FinetuneModule
from transferkit.training.plan import Plan
from transferkit.training.schedules import SCHEDULES

NET = ("narrow_resnet10", "resnet_glyphs")
BATCH = 8


def plan(train: dict[str, Any], **keys: Any) -> Plan:
    phases = keys.pop("phases", {"only": {"epochs": 1, "train": train}})
    more = {key: keys.pop(key) for key in ("optimizer", "schedule") if key in keys}
    return Plan.from_mapping({"name": "test", "phases": phases, **keys}, **more)


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3 * BATCH, 3, 32, 32, generator=generator), torch.arange(3 * BATCH) % 3


@pytest.fixture
def loader(images: tuple[Tensor, Tensor]) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*images), BATCH)


def head(features: int = 192) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(features, 3)


def trainer(folder: Path, **keys: Any) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1, "enable_checkpointing": False, **keys},
    )


def test_full_finetuning_is_a_plain_loop(
    images: tuple[Tensor, Tensor], loader: DataLoader[Any], tmp_path: Path
) -> None:
    optimizer = {"name": "sgd", "momentum": 0.9}
    everything = plan(
        {"*": 0.01}, optimizer=optimizer, schedule={"name": "constant"}, gradient_clip=None, batch_norm="batch"
    )
    module = FinetuneModule(tk.create_backbone(*NET), 3, everything, head=head())
    trainer(tmp_path, max_epochs=2).fit(module, loader)

    plain = tk.create_backbone(*NET).truncate("stage5").train()
    classifier = head()
    sgd = torch.optim.SGD([*plain.parameters(), *classifier.parameters()], lr=0.01, momentum=0.9)
    for _ in range(2):
        for x, y in loader:
            sgd.zero_grad()
            h: Any = plain(x)
            loss: Any = F.cross_entropy(classifier(h.mean(dim=(2, 3))), y, label_smoothing=0.1)
            loss.backward()
            sgd.step()
    ours, theirs = module.model.state_dict(), plain.state_dict()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[f"backbone.{name}"], value, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours["head.weight"], classifier.weight.detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("train", [{"head": 1e-2}, {"head": 1e-2, "stage4": 1e-2}, {"stage[12]": 1e-2}])
@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_frozen_is_bit_identical_even_in_train_mode(
    train: dict[str, float], batch_norm: str, loader: DataLoader[Any], tmp_path: Path
) -> None:
    module = FinetuneModule(tk.create_backbone(*NET), 3, plan(train, batch_norm=batch_norm), head=head())
    before = copy.deepcopy(module.state_dict())
    module.train()
    trainer(tmp_path).fit(module, loader, loader)
    module.train()
    after = module.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    stages = {"head" if key.startswith("model.head") else key.split(".")[3] for key in changed}
    assert stages == set(module.rates)
    buffers = {key for key in changed if "running_" in key or "num_batches" in key}
    assert bool(buffers) is (batch_norm == "batch" and set(module.rates) != {"head"})


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_in_bf16_weights_and_statistics_stay_fp32_and_frozen_ones_as_they_were(
    batch_norm: str, loader: DataLoader[Any], images: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    modules = {}
    for precision in ("32-true", "bf16-mixed"):
        # Adam would divide small gradients, and so their rounding, by their size.
        recipe = plan({"head": 1e-3, "stage[45]": 1e-3}, batch_norm=batch_norm, optimizer={"name": "sgd"})
        module = FinetuneModule(tk.create_backbone(*NET), 3, recipe, head=head())
        before = copy.deepcopy(module.state_dict())
        trainer(tmp_path, precision=precision).fit(module, loader, loader)
        after = module.state_dict()
        assert {value.dtype for value in after.values()} <= {torch.float32, torch.int64}
        assert all(torch.equal(before[key], after[key]) for key in module.frozen_keys())
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert any("running_" in key for key in changed) is (batch_norm == "batch")
        assert not changed & module.frozen_keys()
        modules[precision] = module.eval()
    exact, rounded = (module(images[0]).detach() for module in modules.values())
    assert float((exact - rounded).norm() / exact.norm()) < 0.05


def test_the_fast_copy_of_what_is_frozen_computes_the_same(images: tuple[Tensor, Tensor]) -> None:
    module = FinetuneModule(tk.create_backbone(*NET), 3, plan({"head": 1e-2, "stage5": 1e-3}), head=head()).eval()
    expected = module(images[0])
    frozen = module.frozen_backbone()
    assert frozen is not None
    assert frozen.stage_names == module.frozen_prefix
    module.fast = FrozenStages(frozen, torch.device("cpu"), "fp32")
    torch.testing.assert_close(module(images[0]), expected, rtol=1e-3, atol=1e-4)
    assert set(module.state_dict()) == {key for key in module.state_dict() if ".fast" not in key}
    module.begin("only")
    assert module.fast is None


def test_pixels_are_normalised(images: tuple[Tensor, Tensor]) -> None:
    module = FinetuneModule(tk.create_backbone(*NET), 3, plan({"head": 1e-2}), head=head()).eval()
    pixels = (torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    torch.testing.assert_close(module(pixels), module(module.model.preprocess.normalize(pixels.clone())))


def test_a_frozen_batch_norm_uses_running_statistics(images: tuple[Tensor, Tensor]) -> None:
    backbone = tk.create_backbone(*NET)
    module = FinetuneModule(backbone, 3, plan({"head": 1e-2}), head=head())
    module.train()
    whole = module(images[0]).detach()
    one = torch.cat([module(image[None]) for image in images[0]]).detach()
    torch.testing.assert_close(whole, one, rtol=1e-3, atol=1e-4)
    module.eval()
    torch.testing.assert_close(module(images[0]), whole)


def test_a_frozen_dropout_is_off_and_a_trained_one_on() -> None:
    vgg = tk.create_backbone("narrow_vgg8", "vgg_glyphs")
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    frozen = FinetuneModule(vgg, 3, plan({"head": 1e-2})).train()
    assert torch.equal(frozen(x), frozen(x))
    trained = FinetuneModule(vgg, 3, plan({"head": 1e-2, "fc*": 1e-3})).train()
    assert not torch.equal(trained(x), trained(x))


def test_no_graph_is_recorded_below_the_first_trained_stage(images: tuple[Tensor, Tensor]) -> None:
    module = FinetuneModule(tk.create_backbone(*NET), 3, plan({"head": 1e-2, "stage4": 1e-3}))
    grads: dict[str, bool] = {}
    for name, stage in module.model.backbone.stages.items():
        stage.register_forward_hook(lambda _m, _i, out, name=name: grads.update({name: out.requires_grad}))
    module(images[0])
    assert grads == {"stage1": False, "stage2": False, "stage3": False, "stage4": True, "stage5": True}
    assert module.frozen_prefix == ("stage1", "stage2", "stage3")


def test_every_trained_parameter_is_in_exactly_one_group_with_its_rate() -> None:
    rates = {"head": 1e-2, "fc*": 2e-3, "stage5": 3e-4}
    module = FinetuneModule(
        tk.create_backbone("narrow_vgg8", "vgg_glyphs"), 3, plan(rates, optimizer={"name": "adamw", "lr_scale": 10})
    )
    groups = module.parameter_groups()
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters() if p.requires_grad)
    expected = {"head": 0.1, "fc6": 0.02, "fc7": 0.02, "stage5": 0.003}
    for group in groups:
        stage, _, spared = group["name"].partition(", ")
        assert group["lr"] == pytest.approx(expected[stage])
        members = {id(p) for p in module.named_stages[stage].parameters()}
        assert {id(p) for p in group["params"]} <= members
        assert all((p.ndim == 1) is bool(spared) for p in group["params"])
        assert (group.get("weight_decay") == 0.0) is bool(spared)
    decayed = FinetuneModule(module.model.backbone, 3, plan(rates, decay_norm_and_bias=True)).parameter_groups()
    assert [group["name"] for group in decayed] == ["stage5", "fc6", "fc7", "head"]


OTHER_SCHEDULES = sorted(set(SCHEDULES) - {"linear"})


@pytest.mark.parametrize(
    ("optimizer", "schedule", "keys"),
    [
        *(pytest.param("adamw", {"name": name}, {}, marks=pytest.mark.slow) for name in OTHER_SCHEDULES),
        ("adamw", {"name": "linear"}, {}),
        ("sgd", {"name": "one_cycle"}, {}),
        ("sgd", {"name": "plateau", "warmup": 0.5, "patience": 0}, {"l2_sp": {"alpha": 0.1}, "head_dropout": 0.5}),
        ("sgd", {"name": "cosine"}, {"swa": {"start": 0.3}}),
    ],
    ids=str,
)
def test_every_schedule_works_and_ends_where_a_resumed_one_does(
    schedule: dict[str, Any], optimizer: str, keys: dict[str, Any], loader: DataLoader[Any], tmp_path: Path
) -> None:
    phases = {
        "head": {"epochs": 3, "train": {"head": 1e-2}},
        "tail": {"epochs": 3, "train": {"head": 1e-3, "stage5": 1e-3}},
    }
    recipe = plan({}, phases=phases, optimizer={"name": optimizer}, schedule=schedule, **keys)

    def fit(folder: Path, stop_after: int | None) -> FinetuneModule:
        module = FinetuneModule(tk.create_backbone(*NET), 3, recipe, head=head())
        for phase in recipe.phases:
            module.begin(phase.name)
            if stop_after is not None:
                stopped = trainer(folder, max_epochs=3, enable_checkpointing=True, callbacks=[Stop(stop_after)])
                start = copy.deepcopy(module.state_dict())
                stopped.fit(module, loader, loader)
                stopped.save_checkpoint(folder / "stopped.ckpt")
                module.load_state_dict(start)
                trainer(folder, max_epochs=3).fit(
                    module, loader, loader, ckpt_path=folder / "stopped.ckpt", weights_only=True
                )
            else:
                trainer(folder, max_epochs=3).fit(module, loader, loader)
        return module

    straight, resumed = fit(tmp_path / "a", None), fit(tmp_path / "b", 1)
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-4, atol=1e-6)


class Stop(pl.Callback):  # type: ignore[misc]
    """Ends a fit after some epochs, as if it had been interrupted."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.epochs:
            trainer.should_stop = True


def test_a_checkpoint_goes_on_with_its_own_plan_and_phase_only(loader: DataLoader[Any], tmp_path: Path) -> None:
    phases = {"head": {"epochs": 1, "train": {"head": 1e-2}}, "tail": {"epochs": 1, "train": {"stage5": 1e-2}}}
    module = FinetuneModule(tk.create_backbone(*NET), 3, plan({}, phases=phases))
    runner = trainer(tmp_path, enable_checkpointing=True)
    runner.fit(module, loader)
    runner.save_checkpoint(tmp_path / "head.ckpt")
    assert torch.load(tmp_path / "head.ckpt", weights_only=True)["phase"] == "head"
    module.begin("tail")
    with pytest.raises(TransferkitError, match=r"phase head there and tail here.*save the model"):
        trainer(tmp_path).fit(module, loader, ckpt_path=tmp_path / "head.ckpt", weights_only=True)
    phases["head"]["train"] = {"head": 1e-3}
    other = FinetuneModule(tk.create_backbone(*NET), 3, plan({}, phases=phases))
    with pytest.raises(TransferkitError, match=r"phases\.head\.train\.head 0\.01 there and 0\.001 here"):
        trainer(tmp_path).fit(other, loader, ckpt_path=tmp_path / "head.ckpt", weights_only=True)


@pytest.mark.parametrize("mix", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixing_smoothing_and_weights_train(mix: dict[str, float], loader: DataLoader[Any], tmp_path: Path) -> None:
    module = FinetuneModule(
        tk.create_backbone(*NET),
        3,
        plan({"head": 1e-2}, label_smoothing=0.1, **mix),
        head=head(),
        class_weights=[1.0, 2.0, 0.5],
    )
    weight: Any = module.model.head.weight
    before = weight.detach().clone()
    trainer(tmp_path).fit(module, loader, loader)
    assert not torch.equal(before, weight)


def test_class_weights_weigh_the_loss(images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    weights = [1.0, 3.0, 0.5]
    module = FinetuneModule(tk.create_backbone(*NET), 3, plan({"head": 1e-2}), head=head(), class_weights=weights)
    module.log = lambda *args, **kwargs: None
    loss = module.training_step((images[0], images[1]), 0)
    expected = F.cross_entropy(module(images[0]), images[1], weight=torch.tensor(weights), label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)


def test_a_trainer_without_an_end_is_refused(loader: DataLoader[Any], tmp_path: Path) -> None:
    module = FinetuneModule(tk.create_backbone(*NET), 3, plan({"head": 1e-2}))
    with pytest.raises(TransferkitError, match="give the Trainer max_epochs or max_steps"):
        trainer(tmp_path, max_epochs=-1).fit(module, loader)


def test_a_stage_that_the_network_lacks() -> None:
    with pytest.raises(TransferkitError, match=r"strategy\.phases\.only\.train: there is no stage 'fc6'"):
        FinetuneModule(tk.create_backbone(*NET), 3, plan({"fc6": 1e-3}))
