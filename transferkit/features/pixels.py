"""Images kept as they enter a network, but for the normalisation: decoded, resized, cropped."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch

from transferkit.data.batch_loading import Batch, Source
from transferkit.data.images import DECODE_VERSION
from transferkit.data.preprocess import Preprocessing
from transferkit.features.growing_rows import GrowingRows, Pace
from transferkit.features.store import FeatureCache


def describe_pixels(preprocess: Preprocessing) -> dict[str, Any]:
    """All that determines the pixels but the image, in plain values: networks that differ in none of it share them."""
    geometry = {key: value for key, value in preprocess.to_dict().items() if key not in ("mean", "std", "crop_pct")}
    return {
        "decode": DECODE_VERSION,
        "preprocessing": geometry,
        "versions": {name: version(name) for name in ("torchvision", "pillow")},
    }


def with_kept_pixels(source: Source, cache: FeatureCache, preprocess: Preprocessing, batch_size: int) -> Source:
    """The same images, their pixels read from the cache where it has them, and kept there where not.

    Args:
        source: Gives uint8 pixels; without `ids` (they take decoding) it is returned as it is.
        cache: Gets rows (n, 3, H, W), uint8, of kind "pixels".
        preprocess: What the source resizes and crops with.
        batch_size: Images a batch.
    """
    if source.ids is None:
        return source
    ids = source.ids
    rows = GrowingRows(cache.entry(describe_pixels(preprocess), "pixels"))

    def load(positions: Sequence[int]) -> Iterator[Batch]:
        rows.read()
        if all(ids[position] in rows for position in positions):
            yield from _kept(rows, ids, positions, batch_size)
            return
        assert rows.entry is not None
        with cache.locked([rows.entry]):  # a job that decodes the same images is waited for
            rows.read(clean=True)
            there = [position for position in positions if ids[position] in rows]
            missing = [position for position in positions if ids[position] not in rows]
            yield from _kept(rows, ids, there, batch_size)
            yield from _decoded(source, rows, missing)

    return replace(source, load=load)


def _kept(rows: GrowingRows, ids: Sequence[str], positions: Sequence[int], size: int) -> Iterator[Batch]:
    for start in range(0, len(positions), size):
        mine = list(positions[start : start + size])
        names = [ids[position] for position in mine]
        yield Batch(mine, names, torch.from_numpy(rows.index.gather(names)), [], decoded=0)


def _decoded(source: Source, rows: GrowingRows, positions: Sequence[int]) -> Iterator[Batch]:
    """Decode, and keep what was decoded even if the reader stops."""
    pace = Pace()
    try:
        for batch in source.load(positions):
            if len(batch.ids):
                rows.add(batch.ids, batch.inputs.numpy())
            if pace.due(rows.waiting):
                rows.keep()
            yield batch
    finally:
        rows.keep()
