"""Extract features: one pass over the images, each computed once, kept in a cache."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, Literal

import numpy as np
import torch

from transferkit.arrays import Features
from transferkit.backbones.backbone import Backbone, check_pool
from transferkit.backbones.stages import match_stages
from transferkit.data.batch_loading import Batch, Source, damaged, open_source
from transferkit.data.images import UnreadableImage
from transferkit.data.preprocess import Preprocessing
from transferkit.device import find_device, find_precision
from transferkit.errors import TransferkitError
from transferkit.features.growing_rows import GrowingRows, Pace
from transferkit.features.inference_network import InferenceNetwork
from transferkit.features.keys import describe
from transferkit.features.pixels import with_kept_pixels
from transferkit.features.store import FeatureCache, RowIndex, default_cache_dir
from transferkit.progress import progress as show_progress

log = logging.getLogger(__name__)


@dataclass
class ExtractionStats:
    """What an extraction did, counted.

    Attributes:
        images: Asked for.
        loaded: Decoded.
        forwarded: For every stage of the backbone that ran, the images it ran on.
        reused: For every stage asked for, the distinct images whose row was there before.
        computed: For every stage asked for, the rows computed: distinct images that had none.
        bytes_written: To the cache.
        seconds: In all.
    """

    images: int = 0
    loaded: int = 0
    forwarded: dict[str, int] = field(default_factory=dict)
    reused: dict[str, int] = field(default_factory=dict)
    computed: dict[str, int] = field(default_factory=dict)
    bytes_written: int = 0
    seconds: float = 0.0


def extract_features(
    backbone: Backbone,
    dataset: Any,
    stages: Sequence[str] | None = None,
    *,
    pool: str = "avg",
    cache: FeatureCache | Literal["default"] | None = "default",
    batch_size: int = 32,
    num_workers: int | str = "auto",
    device: str | torch.device = "auto",
    precision: str = "fp32",
    compile: bool | Literal["auto"] = "auto",
    pixels: FeatureCache | None = None,
    progress: bool = True,
    stats: ExtractionStats | None = None,
) -> dict[str, Features]:
    """Compute what leaves some stages, pooled over the positions of a map, for every image.

    Images with equal contents are computed once; rows that the cache has are not computed; the images that remain are
    read once for all stages and go no deeper than needed. A killed run leaves its rows in the cache. The results depend
    on none of `batch_size`, `num_workers` and `compile` (to 1e-5, in bf16 1e-2). The backbone is not changed.

    Args:
        backbone: The network.
        dataset: An `ImageSet`; or any map-style data set of PIL images or preprocessed floating-point tensors
            (3, H, W), alone or with labels; or a `DataLoader` of batches of such tensors that does not shuffle. Other
            data than an `ImageSet` must be decoded to be found in the cache. Random augmentation defeats it.
        stages: Names or patterns; by default the top feature stage.
        pool: What becomes of a map (C, H, W): "avg", "max", "grid2" to "grid4"; see `pool_features`.
        cache: A `FeatureCache`, "default" for that in the user's cache folder, or None to keep features in memory only.
        batch_size: Images that go through the network together.
        num_workers: Processes that decode; "auto" chooses by the number of images and of cores.
        device: "auto" for the first of cuda, mps and cpu that there is.
        precision: Of the products: "fp32", "bf16", "fp16", or "auto" (`find_precision`). Features are float32 anyhow.
        compile: Whether to compile the network; "auto": where so much is to do on a CPU that it pays.
        pixels: A cache for the decoded images of an `ImageSet`, for other networks that take the same size.
        progress: Whether to show it.
        stats: A new one, to be filled.

    Returns:
        Stage to array (N, D), rows in the order of `dataset`.

    Raises:
        TransferkitError: An unknown setting, data of another kind, images that cannot be read (all are listed, the
            others are kept), features that are not finite, or a cache that cannot be written.
    """
    start = time.perf_counter()
    check_pool(pool)
    names = [backbone.top] if stages is None else match_stages(stages, backbone.stage_names)
    stats = ExtractionStats() if stats is None else stats
    store = FeatureCache(default_cache_dir()) if isinstance(cache, str) else cache
    source = _open(dataset, backbone.preprocess, pixels, batch_size, num_workers, store is not None, progress)
    fast = find_precision(precision, place := find_device(device))
    keys = describe(backbone, names, pool, fast) if store else {}
    rows = {name: GrowingRows(store.entry(keys[name]) if store else None) for name in names}
    make_network = partial(_network, backbone.truncate(names[-1]), pool, place, fast, compile)
    ids = _complete(rows, source, store, make_network, stats, progress)
    features = {name: _gather(rows[name].index, ids, backbone.infos[name].channels) for name in names}
    _tell(stats, ids, names, time.perf_counter() - start)
    return features


def _open(
    dataset: Any,
    preprocess: Preprocessing,
    pixels: FeatureCache | None,
    batch_size: int,
    num_workers: int | str,
    hashed: bool,
    progress: bool,
) -> Source:
    """The images, resized and cropped, from the cache where they are kept."""
    loading: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers, "progress": progress}
    source = open_source(dataset, preprocess.pixels, hashed=hashed, **loading)
    return source if pixels is None else with_kept_pixels(source, pixels, preprocess, batch_size)


def _network(
    backbone: Backbone, pool: str, device: torch.device, precision: str, compile: bool | str, images: int
) -> InferenceNetwork:
    """The network as it computes fastest, for so many images."""
    network = InferenceNetwork(backbone, pool, device, precision)
    network.decide(compile, images, (3, *backbone.preprocess.input_size))
    return network


def _gather(index: RowIndex, ids: Sequence[str], width: int) -> Features:
    """The rows of all images; of none, an array of the width that pooled rows have."""
    return index.gather(ids) if ids else np.empty((0, width), dtype=np.float32)


def _tell(stats: ExtractionStats, ids: Sequence[str], names: Sequence[str], seconds: float) -> None:
    """Complete the counts; one line in the log for all stages of which as much was reused and computed."""
    stats.images = len(ids)
    stats.reused = {name: len(set(ids)) - stats.computed.get(name, 0) for name in names}
    stats.seconds = seconds
    alike: dict[tuple[int, int], list[str]] = {}
    for name, reused in stats.reused.items():
        alike.setdefault((reused, stats.computed.get(name, 0)), []).append(name)
    for counts, names in alike.items():
        numbers = stats.images, *counts, stats.seconds
        log.info("Features of %s: %d images, %d from the cache, %d computed, %.1f s.", ", ".join(names), *numbers)


def join_stages(features: Mapping[str, Features], stages: Sequence[str]) -> Features:
    """Return the features of these stages side by side, (N, sum of their D); those of one stage are not copied."""
    return features[stages[0]] if len(stages) == 1 else np.concatenate([features[name] for name in stages], axis=1)


def _complete(
    rows: Mapping[str, GrowingRows],
    source: Source,
    cache: FeatureCache | None,
    make_network: Callable[[int], InferenceNetwork],
    stats: ExtractionStats,
    progress: bool,
) -> list[str]:
    """The identity of every image, once every stage has the rows of all of them."""
    for stage_rows in rows.values():
        stage_rows.read()
    if source.ids is not None and all(
        identity in stage_rows for stage_rows in rows.values() for identity in source.ids
    ):
        return source.ids
    with cache.locked([r.entry for r in rows.values() if r.entry]) if cache else nullcontext():
        for stage_rows in rows.values():
            stage_rows.read(clean=True)
        ids = _compute(source, rows, make_network, stats, progress)
    if cache:
        cache.shrink()
    return ids


def _compute(
    source: Source,
    rows: Mapping[str, GrowingRows],
    make_network: Callable[[int], InferenceNetwork],
    stats: ExtractionStats,
    progress: bool,
) -> list[str]:
    """Compute and keep what is missing; returns the identity of every image."""
    positions = _missing(source.ids, rows)
    total = source.size if source.ids is None else len(positions)
    network = make_network(total)
    found: list[str] = []
    unreadable: list[tuple[int, TransferkitError]] = []
    pace = Pace()
    with (
        show_progress(f"Extracting {', '.join(rows)}", total)
        if progress
        else nullcontext(lambda count: None) as advance
    ):
        try:
            for batch in source.load(positions):
                found += batch.ids
                for position, error in batch.errors:
                    if not isinstance(error, UnreadableImage):
                        raise error
                    unreadable.append((position, error))
                stats.loaded += len(batch.ids) if batch.decoded is None else batch.decoded
                if len(batch.ids):
                    _forward(batch, source, rows, network, stats)
                if pace.due(sum(stage_rows.waiting for stage_rows in rows.values())):
                    stats.bytes_written += sum(stage_rows.keep() for stage_rows in rows.values())
                advance(len(batch.ids) + len(batch.errors))
        finally:
            stats.bytes_written += sum(stage_rows.keep() for stage_rows in rows.values())
    if unreadable:
        raise damaged([str(error) for _, error in sorted(unreadable, key=itemgetter(0))])
    return source.ids if source.ids is not None else found


def _missing(ids: list[str] | None, rows: Mapping[str, GrowingRows]) -> list[int]:
    """One position of each image that lacks a row, those first that need not go as deep."""
    first = {identity: i for i, identity in reversed(list(enumerate(ids or [])))}
    depth = {
        i: max((d for d, stage_rows in enumerate(rows.values()) if identity not in stage_rows), default=-1)
        for identity, i in first.items()
    }
    return sorted((i for i in first.values() if depth[i] >= 0), key=lambda i: (depth[i], i))


def _forward(
    batch: Batch, source: Source, rows: Mapping[str, GrowingRows], network: InferenceNetwork, stats: ExtractionStats
) -> None:
    """Compute the rows that a batch lacks."""
    wanted = {}  # stage to places in the batch, one for each image
    for name, stage_rows in rows.items():
        new = {identity: i for i, identity in enumerate(batch.ids) if identity not in stage_rows}
        if new:
            wanted[name] = sorted(new.values())
    places = sorted(set().union(*wanted.values()))
    if not places:
        return
    inputs = batch.inputs if len(places) == len(batch.inputs) else batch.inputs[places]
    features = network(inputs, list(wanted))
    for name in network.names[: network.names.index(list(wanted)[-1]) + 1]:
        stats.forwarded[name] = stats.forwarded.get(name, 0) + len(places)
    for name, mine in wanted.items():
        values = features[name][np.searchsorted(places, mine)]
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            image = source.names(batch.positions[mine[bad[0]]])
            raise TransferkitError(
                f"The features of {name} are not finite for {image}: the weights are broken, or the preprocessing "
                "(backbone.mean, backbone.std) does not fit them."
            )
        rows[name].add([batch.ids[i] for i in mine], values)
        stats.computed[name] = stats.computed.get(name, 0) + len(mine)
