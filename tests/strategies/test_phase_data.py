"""Frozen stages are computed once: counted, never timed."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import transferkit as tk
from tests.strategies.contexts import make_context, short_settings
from transferkit.backbones.backbone import Backbone
from transferkit.data.imagedata import ImageData
from transferkit.data.imageset import ImageSet
from transferkit.features.frozen_network import FrozenStages
from transferkit.features.inference_network import InferenceNetwork
from transferkit.features.placement import Storage
from transferkit.features.store import CacheEntry
from transferkit.strategies.finetune import fit_finetune
from transferkit.strategies.fitted import Fitted

PHASES: dict[str, Any] = {
    "head": {"epochs": 3, "min_steps": 0, "train": {"head": 1e-2}},
    "tail": {"epochs": 3, "min_steps": 0, "train": {"head": 1e-3, "stage5": 1e-3}},
}
AUGMENT = {"horizontal_flip": {}, "rotation": {"degrees": 10}}


@pytest.fixture(scope="module")
def data() -> ImageData:
    return tk.load_data({"kind": "digits", "name": "digits", "per_class": 6, "max_test": 20}, seed=0)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Images decoded, images that went through frozen stages by what ran them, bytes written."""
    counted: Counter[str] = Counter()
    inside: list[str] = []

    def watch(kind: Any, name: str, label: str, size: Any) -> None:
        original = getattr(kind, name)

        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not inside:  # extraction runs frozen stages, too
                counted[label] += size(*args)
            inside.append(label)
            try:
                return original(self, *args, **kwargs)
            finally:
                inside.pop()

        monkeypatch.setattr(kind, name, watched)

    watch(ImageSet, "identified", "decoded", lambda index: 1)
    # Not the zeros that are timed.
    watch(FrozenStages, "__call__", "forwarded", lambda images, stages: len(images) if images.any() else 0)
    watch(InferenceNetwork, "__call__", "extracted", lambda images, stages: len(images))
    watch(CacheEntry, "append", "bytes", lambda shard, ids, rows: rows.nbytes)
    return counted


@pytest.fixture
def all_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the disk were fast and the network slow, which on so small a one it is not."""
    monkeypatch.setattr(
        "transferkit.strategies.phase_data.choose_storage", lambda *_: Storage("memory", True, "as the test wants")
    )


def fit(data: ImageData, folder: Path, *overrides: str, **changes: Any) -> Fitted:
    cache = (f"cache.dir={folder.parent / 'cache'}", "cache.enabled=true")
    settings = short_settings("finetune_few", *cache, *overrides)
    settings["strategy"] |= {"phases": PHASES, "head": "random", **changes.pop("strategy", {})}
    settings |= changes
    backbone: Backbone = tk.create_backbone("narrow_resnet10", "resnet_glyphs")
    return fit_finetune(make_context(backbone, data, settings, folder))


@pytest.mark.usefixtures("all_on_disk")
def test_two_phases_compute_what_is_frozen_once_and_another_run_nothing(
    data: ImageData, tmp_path: Path, counts: Counter[str]
) -> None:
    n = len(data.train) + len(data.val)
    first = fit(data, tmp_path / "a", "dataset.cache=pixels")
    # The head's phase begins from pooled features, the tail's from what leaves stage4; both from the same pixels.
    assert counts["decoded"] == n
    assert counts["extracted"] == n
    assert counts["forwarded"] == n
    prefix = {name: figures["prefix"] for name, figures in first.details["phases"].items()}
    assert counts["bytes"] == n * 3 * 32 * 32 + sum(figures["bytes"] for figures in prefix.values())
    counts.clear()
    again = fit(data, tmp_path / "b", "dataset.cache=pixels", "seed=1")
    assert counts.total() == 0
    assert {name: figures["prefix"] for name, figures in again.details["phases"].items()} == prefix
    # Other rates, other phases, the same frozen stages.
    fit(data, tmp_path / "c", strategy={"phases": {"tail": PHASES["tail"]}})
    assert counts.total() == 0


@pytest.mark.usefixtures("all_on_disk")
def test_of_fixed_views_each_is_computed_once(data: ImageData, tmp_path: Path, counts: Counter[str]) -> None:
    augment = {"name": "test", "views": 2, "transforms": AUGMENT}
    tail = {"phases": {"tail": PHASES["tail"]}}
    n = 2 * len(data.train) + len(data.val)
    fitted = fit(data, tmp_path / "a", augment=augment, strategy=tail)
    assert counts["forwarded"] == n
    assert counts["decoded"] == n + len(data.train) + len(data.val)  # features, before the first phase
    assert fitted.details["phases"]["tail"]["prefix"]["cached"] == "memory"
    counts.clear()
    fit(data, tmp_path / "b", augment=augment, strategy=tail)
    assert counts.total() == 0
    fit(data, tmp_path / "c", augment={**augment, "transforms": {"horizontal_flip": {}}}, strategy=tail)
    assert counts["forwarded"] == 2 * len(data.train)  # val is not augmented


@pytest.mark.usefixtures("all_on_disk")
def test_automatic_views_are_fixed_where_many_passes_are_made_and_heads_stay_exact(
    data: ImageData, tmp_path: Path, counts: Counter[str]
) -> None:
    augment = {"name": "light", "views": "auto", "heads": False, "transforms": AUGMENT}
    passes_5 = {"min_steps": 3 * 4 * len(data.train) // 16 + 3}
    for name, more in (("few", {}), ("many", passes_5)):
        counts.clear()
        fit(data, tmp_path / name, augment=augment, strategy={"phases": {"tail": PHASES["tail"] | more}})
        every_epoch = 3 * (len(data.train) // 16 * 16 + len(data.val))
        assert counts["forwarded"] == (10 * len(data.train) + len(data.val) if more else every_epoch)
    counts.clear()
    fit(data, tmp_path / "head", augment=augment, strategy={"phases": {"head": PHASES["head"]}})
    assert counts["forwarded"] == 0  # the pooled features of the probe


def test_without_a_cache_what_is_frozen_runs_in_every_epoch_only_where_it_must(
    data: ImageData, tmp_path: Path, counts: Counter[str]
) -> None:
    tail = {"phases": {"tail": PHASES["tail"]}}
    n = len(data.train) + len(data.val)
    fit(data, tmp_path / "a", "cache.enabled=false", strategy=tail)
    assert counts["forwarded"] == n
    assert counts["bytes"] == 0
    counts.clear()
    fitted = fit(data, tmp_path / "b", "cache.enabled=false", "cache.ram_gb=0", strategy=tail)
    assert counts["forwarded"] == 3 * (len(data.train) // 16 * 16 + len(data.val))
    assert fitted.details["phases"]["tail"]["prefix"]["cached"] == "no"


def test_a_finished_phase_is_skipped(data: ImageData, tmp_path: Path, counts: Counter[str]) -> None:
    overrides = ("cache.enabled=false",)
    first = fit(data, tmp_path / "a", *overrides)
    counts.clear()
    again = fit(data, tmp_path / "a", *overrides)
    assert counts["forwarded"] == 0
    assert counts["extracted"] == len(data.train) + len(data.val)  # the features' norm, and where training starts
    assert again.details == first.details
    assert (again.val == first.val).all()
    state = again.model.state_dict()
    assert all((state[name] == value).all() for name, value in first.model.state_dict().items())


def test_rows_on_disk_train_as_those_in_memory(
    data: ImageData, tmp_path: Path, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = {"phases": {"tail": PHASES["tail"]}}
    fitted = {}
    for cached in ("memory", "disk"):
        storage = Storage(cached, cached == "disk", "as the test wants")
        monkeypatch.setattr("transferkit.strategies.phase_data.choose_storage", lambda *_, chosen=storage: chosen)
        fitted[cached] = fit(data, tmp_path / cached, strategy=tail)
    assert (fitted["memory"].val == fitted["disk"].val).all()
    assert fitted["memory"].history == fitted["disk"].history
    assert counts["forwarded"] == 2 * (len(data.train) + len(data.val))
    assert list((tmp_path / "cache" / "activations").glob("*/*/*.rows"))
