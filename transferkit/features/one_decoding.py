"""Features of several networks from one pass over the images: each is decoded once, and cropped for every network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from transferkit.arrays import Features, Rows
from transferkit.backbones.backbone import Backbone
from transferkit.choices import SHARDS
from transferkit.data.batch_loading import Batch, Source, open_source
from transferkit.data.imageset import ImageSet
from transferkit.data.preprocess import Preprocessing
from transferkit.device import find_device, find_precision
from transferkit.features.extract import ExtractionStats, Extractor, Forward
from transferkit.features.fill import Counts, Job, Places, fill
from transferkit.features.inference_network import InferenceNetwork
from transferkit.features.store import CacheEntry
from transferkit.progress import progress

MOST_LOCKS = 512
"""Locks held at once, each an open file, of which a process may often have 1,024: one per entry and claimed shard."""


@dataclass(frozen=True)
class Wanted:
    """A network, and the stages whose features are wanted.

    Attributes:
        backbone: The network.
        stages: Their names, in the order of the network.
    """

    backbone: Backbone
    stages: Sequence[str]


def extract_together(
    extractor: Extractor, networks: Mapping[str, Wanted], images: ImageSet, counts: Counts | None = None
) -> dict[str, dict[str, Features]]:
    """Compute the features of several networks, and decode each image once for all of them.

    Each network has the entries in the cache that it would have alone, pooled as its classifier has it: a network whose
    features are there is not computed, and those of a killed run are not computed again. An image is decoded if any
    network lacks it. `extractor.pixels` is not used.

    Args:
        extractor: The settings of the extraction.
        networks: By name.
        images: Labels are not used.
        counts: Gets the number of images decoded, and of rows computed, by `row_name`.

    Returns:
        By network and stage, features (N, D) in the order of the images.

    Raises:
        TransferkitError: Images cannot be read, features are not finite, or the cache cannot be read or written.
    """
    pools = {name: wanted.backbone.pool_name("auto") for name, wanted in networks.items()}
    stores = {name: extractor.rows(one.backbone, list(one.stages), pools[name]) for name, one in networks.items()}
    crops = Crops.of({name: one.backbone.preprocess for name, one in networks.items()})
    source = open_source(
        images,
        crops,
        batch_size=extractor.batch_size,
        num_workers=extractor.num_workers,
        hashed=extractor.store is not None,
        progress=extractor.progress,
    )
    job = Job(
        {row_name(name, stage): rows for name, found in stores.items() for stage, rows in found.items()},
        source,
        lambda missing: _Together(extractor, networks, crops, source, missing),
        extractor.batch_size,
        f"Extracting features of {len(networks)} networks",
        show=progress if extractor.progress else None,
        timed=False,
    )
    counts = counts or Counts()
    for share in _shares(job):
        fill(replace(job, share=share), counts)
    ids = fill(job, counts)
    if extractor.store:
        extractor.store.shrink()
    if not len(ids):
        return {
            name: {stage: np.empty((0, one.backbone.width(stage)), np.float32) for stage in one.stages}
            for name, one in networks.items()
        }
    return {name: {stage: rows.gather(ids) for stage, rows in found.items()} for name, found in stores.items()}


def row_name(network: str, stage: str) -> str:
    """The name of the rows of a network's stage."""
    return f"{network} {stage}"


def _shares(job: Job) -> list[range]:
    """Parts of the shards so small that claiming one takes at most `MOST_LOCKS` locks; none if all at once do."""
    entries = sum(isinstance(store, CacheEntry) for store in job.rows.values())
    size = max(MOST_LOCKS // max(entries, 1), 1)
    return [range(first, min(first + size, SHARDS)) for first in range(0, SHARDS, size)] if size < SHARDS else []


@dataclass(frozen=True)
class Crops:
    """Turns a decoded image into the pixels of several networks, in one tensor.

    Attributes:
        geometries: The preprocessings that differ in more than the normalisation.
        places: Of each network, its position among these.
    """

    geometries: tuple[Preprocessing, ...]
    places: Mapping[str, int]

    @classmethod
    def of(cls, preprocessings: Mapping[str, Preprocessing]) -> "Crops":
        """Those of several networks."""
        # The crop is determined by its size and that of the resized image, whose ratio crop_pct is.
        plain = {
            name: replace(one, mean=(0.0,) * 3, std=(1.0,) * 3, crop_pct=1.0) for name, one in preprocessings.items()
        }
        different = list(dict.fromkeys(plain.values()))
        return cls(tuple(different), {name: different.index(one) for name, one in plain.items()})

    def __call__(self, image: Image.Image) -> Tensor:
        """All crops, uint8, one after the other (sum of 3 H W,)."""
        return torch.cat([geometry.pixels(image).flatten() for geometry in self.geometries])

    def of_network(self, name: str, pixels: Tensor) -> Tensor:
        """The images (n, 3, H, W) of a network, from the crops of n images (n, sum of 3 H W); without a copy."""
        sizes = [(3, *geometry.input_size) for geometry in self.geometries]
        bounds = list(pairwise(np.cumsum([0, *map(np.prod, sizes)]).tolist()))
        place = self.places[name]
        return pixels[:, slice(*bounds[place])].view(-1, *sizes[place])


class _Together:
    """Computes the missing features of a batch through all networks, each prepared when it is first needed."""

    def __init__(
        self, extractor: Extractor, networks: Mapping[str, Wanted], crops: Crops, source: Source, missing: int
    ) -> None:
        self._extractor = extractor
        self._networks = networks
        self._crops = crops
        self._source = source
        self._missing = missing
        self._ready: dict[str, Forward] = {}

    def __call__(self, batch: Batch, wanted: Mapping[str, Places]) -> dict[str, Rows]:
        rows: dict[str, Rows] = {}
        for name, network in self._networks.items():
            mine = {stage: wanted[row_name(name, stage)] for stage in network.stages if row_name(name, stage) in wanted}
            if mine:
                inputs = self._crops.of_network(name, batch.inputs)
                found = self._forward(name)(replace(batch, inputs=inputs), mine)
                rows |= {row_name(name, stage): values for stage, values in found.items()}
        return rows

    def _forward(self, name: str) -> Forward:
        if name not in self._ready:
            backbone, stages = self._networks[name].backbone, self._networks[name].stages
            network = inference_network(self._extractor, backbone, stages[-1])
            network.decide(self._extractor.compile, self._missing, (3, *backbone.preprocess.input_size))
            self._ready[name] = Forward(network, self._source, ExtractionStats())
        return self._ready[name]


def inference_network(extractor: Extractor, backbone: Backbone, stage: str) -> InferenceNetwork:
    """The network up to a stage, as an extraction runs it."""
    place = find_device(extractor.device)
    precision = find_precision(extractor.precision, place)
    return InferenceNetwork(backbone.truncate(stage), backbone.pool_name("auto"), place, precision)
