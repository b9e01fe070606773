"""Every strategy on small transformers, from its YAML: one step, then saved, loaded and asked again."""

from pathlib import Path
from typing import Any

import pytest
import torch

import transferkit as tk
from tests.conftest import compose_settings
from tests.strategies.contexts import make_context
from tests.strategies.test_registry import STRATEGIES
from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stage_sequence import feature
from transferkit.data.imagedata import ImageData
from transferkit.features.extract import ExtractionStats, extract_features
from transferkit.features.store import FeatureCache
from transferkit.models.transfer_model import load_model, save_model
from transferkit.strategies.registry import fit_strategy
from transferkit.training.probe_module import ProbeModule

TINY = {"patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 10}


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 3, "max_test": 20}, seed=0)


def tiny(name: str = "vit_tiny_patch16_224", **more: Any) -> Backbone:
    torch.manual_seed(0)
    return tk.create_backbone(name, None, "timm", kwargs={**TINY, **more}, input_size=32)


def settings_of(strategy: str, *overrides: str) -> dict[str, Any]:
    settings = compose_settings(strategy, "selection=val", *overrides)
    for phase in settings["strategy"].get("phases", {}).values():
        phase |= {"epochs": 1, "min_steps": 0}
    return settings


def check_saved(model: tk.TransferModel, folder: Path) -> None:
    images = torch.randn(3, 3, 32, 32)
    save_model(folder, model)
    with torch.inference_mode():
        assert torch.allclose(load_model(folder)(images), model.cpu().eval()(images), atol=1e-5)


@pytest.mark.parametrize(
    "strategy", [pytest.param(s, marks=pytest.mark.slow) if s == "auto" else s for s in STRATEGIES]
)
def test_every_strategy_fits_and_keeps_a_vision_transformer(strategy: str, data: ImageData, tmp_path: Path) -> None:
    overrides = ["strategy.auto.trials=false"] if strategy == "auto" else []
    fitted = fit_strategy(make_context(tiny(), data, settings_of(strategy, *overrides), tmp_path))
    assert fitted.model.pool == "cls"
    check_saved(fitted.model, tmp_path / "artifact")


@pytest.mark.parametrize("strategy", ["stage_probe", "full_finetune", "finetune_few"])
def test_a_network_with_a_pooling_of_its_own(strategy: str, data: ImageData, tmp_path: Path) -> None:
    backbone = tiny("vit_base_patch16_siglip_224")
    before = {name: value.clone() for name, value in backbone.original_state_dict().items()}
    fitted = fit_strategy(make_context(backbone, data, settings_of(strategy), tmp_path))
    check_saved(fitted.model, tmp_path / "artifact")
    after = fitted.model.backbone.original_state_dict()
    if "attn_pool.q.weight" in after:  # a stage probe may end earlier
        trained = not torch.equal(after["attn_pool.q.weight"], before["attn_pool.q.weight"])
        # Whether the one epoch is better on val than the start depends on the weights that timm drew.
        kept = any(phase["best_epoch"] for phase in fitted.details.get("phases", {}).values())
        assert trained == kept
        assert torch.equal(after["patch_embed.proj.weight"], before["patch_embed.proj.weight"]) == (
            not (kept and strategy == "full_finetune")
        )


@pytest.mark.parametrize("pool", ["cls+avg", "grid2", "avg"])
def test_pools_reach_the_model(pool: str, data: ImageData, tmp_path: Path) -> None:
    settings = settings_of("linear_probe", f"strategy.pool={pool}")
    fitted = fit_strategy(make_context(tiny(), data, settings, tmp_path))
    assert fitted.model.head.in_features == {"cls+avg": 96, "grid2": 192, "avg": 48}[pool]
    check_saved(fitted.model, tmp_path / "artifact")


def test_a_probe_of_the_last_blocks(data: ImageData, tmp_path: Path) -> None:
    """The linear evaluation of DINOv2, cached like any feature, saved and loaded."""
    overrides = ["strategy.probe.stages=[last3,last1]", "strategy.pool=cls+avg", f"cache.dir={tmp_path / 'cache'}"]
    settings = settings_of("stage_probe", *overrides, "cache.enabled=true")
    fitted = fit_strategy(make_context(tiny(), data, settings, tmp_path))
    assert {name: row["features"] for name, row in fitted.stages.items()} == {"last1": 96, "last3": 192}
    assert fitted.model.stages == [fitted.details["stage"]]
    check_saved(fitted.model, tmp_path / "artifact")
    loaded, stats = load_model(tmp_path / "artifact").backbone, ExtractionStats()
    cache = FeatureCache(tmp_path / "cache")
    stages = ["last1", "last3"]
    features = extract_features(loaded, data.train, stages, pool="cls+avg", cache=cache, stats=stats)
    assert stats.forwarded == {}
    assert features["last3"].shape == (len(data.train), 192)


def test_probes_trained_by_gradient_take_the_last_blocks_too() -> None:
    module, x = ProbeModule(tiny(), 10, ["last3", "stage2", "last1"]), torch.randn(2, 3, 32, 32)
    assert list(module.probes) == ["stage2", "last1", "last3"]
    states = tiny().forward_stages(x, ["last3"])
    assert torch.allclose(module.features(x)["last3"], tiny().pooled("last3", feature(states["last3"])), atol=1e-6)
