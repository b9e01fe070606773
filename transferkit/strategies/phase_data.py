"""Train and val batches of a fit: cached if every epoch has the same inputs, else computed in every epoch."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferkit.backbones.backbone import Backbone
from transferkit.config.augment_use import count_views, used_augment
from transferkit.data.augment import create_augment
from transferkit.data.batch_loading import count_workers
from transferkit.device import run_place
from transferkit.features.placement import Storage, Work, choose_storage, pixel_bytes
from transferkit.features.stage_outputs import CutRows
from transferkit.features.store import FeatureCache
from transferkit.features.store_entries import GIGABYTE
from transferkit.features.stored_inputs import StoredInputs
from transferkit.strategies.context import Context
from transferkit.strategies.split_reader import Reader
from transferkit.training.loaders import TrainingData
from transferkit.training.plan import Phase

log = logging.getLogger(__name__)

DISK_SHARE = 0.5
"""Maximum fraction of `cache.max_gb`, and of the free disk space, for the activations of one phase."""

WRITTEN = 8_000_000
"""Bytes that are written to measure the speed of the disk."""

Splits = tuple[StoredInputs, StoredInputs]


PLACES = {
    "memory": "Caching %s activations in memory",
    "disk": "Caching %s activations on disk",
    "no": "Recomputing %s activations in every epoch",
}
"""The beginning of the line in the log, by where activations are cached."""


@dataclass(frozen=True)
class Batches:
    """The data of a fit.

    Attributes:
        data: Train and val.
        stage: The frozen stage whose activations the batches hold; None if they hold images.
        prefix: For metrics.json: where the activations of the frozen stages are cached (`cached`: memory, disk or no),
            their `bytes`, and `why`.
    """

    data: TrainingData
    stage: str | None
    prefix: Mapping[str, Any]


def make_batches(
    context: Context,
    backbone: Backbone,
    phase: Phase,
    batch_size: int,
    *,
    seed: int,
    prefix: Sequence[str] = (),
    accumulate: int = 1,
) -> Batches:
    """Batches for one phase.

    Args:
        context: Its data, augmentation, and limits of memory.
        backbone: The network at the start of the phase.
        phase: Determines the passes over the data per epoch.
        batch_size: Images per batch.
        seed: Of order and augmentation.
        prefix: Leading frozen stages, whose activations may be cached.
        accumulate: Batches per optimizer step.
    """
    settings, data, preprocess = context.settings, context.data, backbone.preprocess
    passes = phase.passes(len(data.train), batch_size * accumulate)
    given = used_augment(settings["augment"], trains_stage=set(phase.train) != {"head"})
    augment, views = create_augment(given["transforms"], preprocess), count_views(given, phase.epochs * passes)
    splits, storage, size = None, Storage("no", False, "every epoch has new augmented images"), 0
    if views is not None:
        reader = Reader(context, preprocess, augment, views, seed)
        reads = phase.epochs * (passes * len(data.train) + len(data.val))
        splits, storage, size = _after_frozen(context, backbone, prefix, reader, views, reads)
    stage = prefix[-1] if splits else None
    if views is not None and splits is None:
        splits = _images(context, preprocess.input_size, reader, views)
        if splits is None and given.get("views") == "auto":
            views = None
    train, val = splits or (data.train, data.val)
    workers = settings["trainer"]["num_workers"]
    batches = TrainingData(
        train,
        val,
        preprocess.pixels,
        augment,
        batch_size,
        seed=seed,
        num_workers=0 if splits else count_workers(workers, len(data.train) * passes),
        passes=passes,
        views=views if augment else None,
    )
    return Batches(batches, stage, {"cached": storage.cached, "bytes": size, "why": storage.why})


def _after_frozen(
    context: Context, backbone: Backbone, prefix: Sequence[str], reader: Reader, views: int, reads: int
) -> tuple[Splits | None, Storage, int]:
    """The activations of the frozen stages, where they are cached and why, and their bytes."""
    if not prefix:
        return None, Storage("no", False, "no leading stage is frozen, or images are mixed"), 0
    data, settings, as_loaded = context.data, context.settings, backbone.as_loaded(prefix[-1])
    if prefix[-1] == backbone.stage_names[-1] and views == 1:
        # As for a probe, which may have cached them.
        rows = [context.extract(backbone, images, [prefix[-1]])[prefix[-1]] for images in (data.train, data.val)]
        train, val = (StoredInputs.of(r, s.labels) for r, s in zip(rows, (data.train, data.val), strict=True))
        return (train, val), Storage("memory", False, "pooled features"), sum(r.nbytes for r in rows)
    cut = CutRows(backbone, prefix[-1], *run_place(settings))
    measured = cut.measure()
    if measured is None:
        return None, Storage("no", False, "the last frozen stage has several output tensors"), 0
    room, byte_seconds = _disk(reader.cache)
    work = Work(len(data.train) * views + len(data.val), reads, *measured, byte_seconds)
    storage = choose_storage(work, settings["cache"]["ram_gb"] * GIGABYTE, room, as_loaded)
    log.info(
        f"{PLACES[storage.cached]}: %d rows of %.3g kB, %.3g ms to compute and %.3g ms to write each (%s).",
        *(prefix[-1], work.rows, work.row_bytes / 1e3, 1e3 * work.compute_seconds),
        *(1e3 * work.row_bytes * byte_seconds, storage.why),
    )
    if storage.cached == "no":
        return None, storage, 0
    train, val = (
        reader.rows(images, cut, storage.on_disk, storage.cached == "memory", train=images is data.train)
        for images in (data.train, data.val)
    )
    return (train, val), storage, work.bytes


def _images(context: Context, input_size: tuple[int, int], reader: Reader, views: int) -> Splits | None:
    """The decoded images in memory, if they fit."""
    data = context.data
    size = pixel_bytes(input_size, len(data.train) * views + len(data.val))
    if size > context.settings["cache"]["ram_gb"] * GIGABYTE:
        return None
    log.info("Caching decoded images in memory (%.0f MB).", size / 1e6)
    return reader.pixels(data.train, train=True), reader.pixels(data.val, train=False)


def _disk(cache: FeatureCache | None) -> tuple[float | None, float]:
    """Bytes that the cache may grow by (None without a cache), and seconds per byte to write."""
    if cache is None:
        return None, 0.0
    folder = next(path for path in (cache.root, *cache.root.parents) if path.is_dir())
    room = DISK_SHARE * min(cache.max_gb * GIGABYTE, shutil.disk_usage(folder).free)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            start = time.perf_counter()
            file.write(bytes(WRITTEN))
            file.flush()
            os.fsync(file.fileno())
            return room, (time.perf_counter() - start) / WRITTEN
    except OSError:  # reported when it is written
        return room, 0.0
