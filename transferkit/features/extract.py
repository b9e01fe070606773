"""Feature extraction: one pass over the images, each computed once and cached."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from transferkit.arrays import Features, Rows
from transferkit.backbones.backbone import Backbone
from transferkit.data.batch_loading import Batch, Source, open_source
from transferkit.data.imageset import ImageSet
from transferkit.device import find_device, find_precision
from transferkit.errors import TransferkitError
from transferkit.features.fill import Counts, Job, Places, fill
from transferkit.features.identities import shards_of
from transferkit.features.inference_network import InferenceNetwork
from transferkit.features.keys import describe
from transferkit.features.memory_rows import MemoryRows
from transferkit.features.pixels import KeptPixels, pixels_entry
from transferkit.features.store import CacheEntry, FeatureCache, default_cache_dir
from transferkit.progress import progress as show_progress

log = logging.getLogger(__name__)


@dataclass
class ExtractionStats:
    """Counts of an extraction.

    Attributes:
        images: Images requested.
        loaded: Images decoded.
        forwarded: For every stage of the backbone that ran, the number of images.
        reused: For every requested stage, the distinct images whose row was cached.
        computed: For every requested stage, the rows computed: distinct images without a cached row.
        bytes_written: Bytes written to the cache.
        seconds: Total time.
    """

    images: int = 0
    loaded: int = 0
    forwarded: dict[str, int] = field(default_factory=dict)
    reused: dict[str, int] = field(default_factory=dict)
    computed: dict[str, int] = field(default_factory=dict)
    bytes_written: int = 0
    seconds: float = 0.0

    def complete(self, images: int, different: int, stages: Sequence[str], seconds: float) -> None:
        """Set what is known at the end; `different` of the images are distinct."""
        self.images, self.seconds = images, seconds
        self.reused = {name: different - self.computed.get(name, 0) for name in stages}


@dataclass(frozen=True)
class ShareStats:
    """Counts of one of several jobs.

    Attributes:
        images: Distinct images, of all shares.
        mine: Images of this share.
        computed: Rows computed by this job.
        lacking: Images that no job has computed yet.
    """

    images: int
    mine: int
    computed: int
    lacking: int


@dataclass(frozen=True)
class Extractor:
    """Settings of an extraction, explained in `extract_features`.

    Attributes:
        store: The cache; None to hold features in memory only.
        pixels: A cache for decoded images.
        batch_size: Images per forward pass.
        num_workers: Processes that decode.
        device: "auto", or a device.
        precision: Of matrix products.
        compile: Whether to compile the network.
        progress: Whether to show progress.
        told: Stages and images that were read before; reading them again is not told.
    """

    store: FeatureCache | None
    pixels: FeatureCache | None = None
    batch_size: int = 32
    num_workers: int | str = "auto"
    device: str | torch.device = "auto"
    precision: str = "fp32"
    compile: bool | Literal["auto"] = "auto"
    progress: bool = True
    told: set[str] = field(default_factory=set, compare=False, repr=False)

    def extract(
        self, backbone: Backbone, dataset: Any, stages: Sequence[str], pool: str, stats: ExtractionStats
    ) -> dict[str, Features]:
        """The features (N, D) of each stage."""
        start = time.perf_counter()
        rows = self.rows(backbone, stages, pool)
        ids = self._fill(backbone, dataset, rows, pool, stats, None)
        for cache in (self.store, self.pixels):
            if cache:
                cache.shrink()
        widths = {name: backbone.width(name, pool) for name in rows}
        features = {
            name: store.gather(ids) if len(ids) else np.empty((0, widths[name]), np.float32)
            for name, store in rows.items()
        }
        stats.complete(len(ids), len(np.unique(ids)), list(rows), time.perf_counter() - start)
        read = {f"{name}{_called(dataset)}" for name in rows}
        if any(stats.computed.values()) or not (_is_part(dataset) or read <= self.told):
            _tell(stats, _called(dataset))
        self.told.update(read)
        return features

    def extract_share(
        self, backbone: Backbone, dataset: Any, stages: Sequence[str], pool: str, share: range
    ) -> ShareStats:
        """Compute and store the rows of some shards only."""
        stats, rows = ExtractionStats(), self.rows(backbone, stages, pool)
        ids = np.unique(self._fill(backbone, dataset, rows, pool, stats, share))
        there = np.all([store.find(ids) >= 0 for store in rows.values()], axis=0)
        mine = np.isin(shards_of(ids), share).sum()
        return ShareStats(len(ids), int(mine), max(stats.computed.values(), default=0), int((~there).sum()))

    def rows(self, backbone: Backbone, stages: Sequence[str], pool: str) -> dict[str, CacheEntry | MemoryRows]:
        """Where the features of these stages are, or will be, by stage."""
        if self.store is None:
            return {name: MemoryRows() for name in stages}
        keys = describe(backbone, stages, pool, find_precision(self.precision, find_device(self.device)))
        return {name: self.store.entry(keys[name]) for name in stages}

    def _fill(
        self,
        backbone: Backbone,
        dataset: Any,
        rows: Mapping[str, CacheEntry | MemoryRows],
        pool: str,
        stats: ExtractionStats,
        share: range | None,
    ) -> Any:
        """Compute the missing rows; return the identity of each image."""
        preprocess, stages = backbone.preprocess, list(rows)
        entry = pixels_entry(self.pixels, preprocess) if self.pixels else None
        source = open_source(
            dataset,
            preprocess.pixels,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            hashed=self.store is not None,
            progress=self.progress,
            keep=(lambda names: KeptPixels(entry, names, preprocess.input_size)) if entry else None,
        )

        def prepare(images: int) -> "Forward":
            place = find_device(self.device)
            cut = backbone.truncate(stages[-1])
            network = InferenceNetwork(cut, pool, place, find_precision(self.precision, place))
            network.decide(self.compile, images, (3, *preprocess.input_size))
            return Forward(network, source, stats)

        job = Job(
            rows,
            source,
            prepare,
            self.batch_size,
            f"Extracting {', '.join(stages)}{_called(dataset)}",
            entry if source.ids is not None else None,
            share,
            show_progress if self.progress else None,
        )
        counts = Counts(computed=stats.computed)
        try:
            return fill(job, counts)
        finally:
            stats.loaded, stats.bytes_written = counts.loaded, counts.written


def extract_features(
    backbone: Backbone,
    dataset: Any,
    stages: Sequence[str] | None = None,
    *,
    pool: str = "auto",
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
    """Compute the features of some stages, one vector an image.

    Images with equal contents are computed once, and cached rows are not recomputed; each remaining image is read once
    for all stages and computed no deeper than needed. The rows of a killed run are in the cache. The results do not
    depend on `batch_size`, `num_workers` and `compile` (to 1e-5, in bf16 1e-2). The backbone is not changed.

    Args:
        backbone: The network.
        dataset: An `ImageSet`; or any map-style data set of PIL images or preprocessed floating-point tensors
            (3, H, W), alone or with labels; or a `DataLoader` of batches of such tensors that does not shuffle. Other
            data than an `ImageSet` must be decoded to be found in the cache. Random augmentation prevents caching.
        stages: Names or patterns, of a transformer also "last4"; by default the top feature stage.
        pool: How maps and tokens become vectors: "auto" as the network's classifier has it ("avg" for maps), or
            another of `choices.POOLS`.
        cache: A `FeatureCache`, "default" for that in the user's cache folder, or None to keep features in memory only.
        batch_size: Images that go through the network together.
        num_workers: Processes that decode; "auto" chooses by the number of images and of cores.
        device: "auto" for the first available of cuda, mps and cpu.
        precision: Of matrix products: "fp32", "bf16", "fp16", or "auto" (`find_precision`). Features are float32.
        compile: Whether to compile the network; "auto": on a CPU, for large jobs where it pays.
        pixels: A cache for the decoded images of an `ImageSet`, for other networks with the same input size.
        progress: Whether to show progress.
        stats: A new object, which is filled.

    Returns:
        Stage to array (N, D), rows in the order of `dataset`.

    Raises:
        TransferkitError: An unknown setting, data of another kind, images that cannot be read (all are listed, the
            others are cached), features that are not finite, or a cache that cannot be written.
    """
    pool = backbone.pool_name(pool)
    names = [backbone.top] if stages is None else backbone.match(stages)
    store = FeatureCache(default_cache_dir()) if isinstance(cache, str) else cache
    extractor = Extractor(store, pixels, batch_size, num_workers, device, precision, compile, progress)
    return extractor.extract(backbone, dataset, names, pool, ExtractionStats() if stats is None else stats)


def join_stages(features: Mapping[str, Features], stages: Sequence[str]) -> Features:
    """Return the concatenated features of these stages, (N, sum of their D); those of one stage are not copied."""
    return features[stages[0]] if len(stages) == 1 else np.concatenate([features[name] for name in stages], axis=1)


def _called(dataset: Any) -> str:
    """The name of the images as it follows that of the stages: " (train)"."""
    return f" ({dataset.called})" if isinstance(dataset, ImageSet) and dataset.called else ""


def _is_part(dataset: Any) -> bool:
    return isinstance(dataset, ImageSet) and dataset.is_part


def _tell(stats: ExtractionStats, called: str) -> None:
    """Log one line for all stages with the same counts."""
    alike: dict[tuple[int, int], list[str]] = {}
    for name, reused in stats.reused.items():
        alike.setdefault((reused, stats.computed.get(name, 0)), []).append(name)
    for counts, names in alike.items():
        numbers = stats.images, *counts, stats.seconds
        where = f"{', '.join(names)}{called}"
        log.info("Features of %s: %d images, %d from the cache, %d computed, %.1f s.", where, *numbers)


@dataclass(frozen=True)
class Forward:
    """Computes the missing features of a batch.

    Attributes:
        network: The network.
        source: The images, for the name of one in a message.
        stats: Gets the counts.
    """

    network: InferenceNetwork
    source: Source
    stats: ExtractionStats

    def __call__(self, batch: Batch, wanted: Mapping[str, Places]) -> dict[str, Rows]:
        """The features, by stage, of the images at these positions of the batch."""
        if not wanted:
            return {}
        places = np.unique(np.concatenate(list(wanted.values())))
        inputs = batch.inputs if len(places) == len(batch.inputs) else batch.inputs[places]
        features = self.network(inputs, list(wanted))
        for name in self.network.run_for(list(wanted)[-1]):
            self.stats.forwarded[name] = self.stats.forwarded.get(name, 0) + len(places)
        rows = {}
        for name, mine in wanted.items():
            rows[name] = features[name][np.searchsorted(places, mine)]
            bad = np.flatnonzero(~np.isfinite(rows[name]).all(axis=1))
            if len(bad):
                image = self.source.names(batch.positions[mine[bad[0]]])
                raise TransferkitError(
                    f"The features of {name} are not finite for {image}: the weights are damaged, or the preprocessing "
                    "(backbone.mean, backbone.std) does not match them."
                )
        return rows
