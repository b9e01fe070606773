"""The function that computes features, from the configuration."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from transferkit.backbones.backbone import Backbone
from transferkit.backbones.stages import match_stages
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError
from transferkit.features.extract import ExtractionStats, Extractor
from transferkit.features.identities import SHARDS
from transferkit.features.store import FeatureCache, default_cache_dir


class Extract(Protocol):
    """(backbone, images, stages, pool) to the features (N, D) of each stage, pooled as `extract_features` says."""

    def __call__(
        self, backbone: Backbone, images: ImageSet, stages: list[str], pool: str = "auto"
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """Compute them, or read them from the cache."""


def make_cache(cache_settings: Mapping[str, Any]) -> FeatureCache | None:
    """Return the feature cache of the configuration's `cache` node, or None if it is disabled."""
    if not cache_settings["enabled"]:
        return None
    folder = cache_settings["dir"]
    return FeatureCache(Path(folder).expanduser() if folder else default_cache_dir(), max_gb=cache_settings["max_gb"])


def keeps_pixels(settings: Mapping[str, Any]) -> bool:
    """Whether decoded images are cached too."""
    return bool(settings.get("dataset", {}).get("cache") == "pixels")


def make_extractor(settings: Mapping[str, Any]) -> Extract:
    """Return the function that computes features with the configured cache and trainer settings; one per job.

    Features of the weights as loaded are cached. Those of weights that this job has changed are neither looked up nor
    cached, since no other job can use them.

    Args:
        settings: The resolved configuration.

    Raises:
        TransferkitError: The configuration asks for a share of the features only.
    """
    if find_share(settings) is not None:
        raise TransferkitError(f"extract.shard is for task=fit, not for task={settings['task']['name']}.")
    extractor = create_extractor(settings)

    def extract(
        backbone: Backbone, images: ImageSet, stages: list[str], pool: str = "auto"
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        pool = backbone.pool_name(pool)
        names = match_stages(stages, backbone.stage_names)
        kept = extractor if all(map(backbone.as_loaded, names)) else replace(extractor, store=None)
        return kept.extract(backbone, images, names, pool, ExtractionStats())

    return extract


def create_extractor(settings: Mapping[str, Any]) -> Extractor:
    """Return the settings of an extraction from the configuration."""
    trainer, cache = settings["trainer"], make_cache(settings["cache"])
    return Extractor(
        cache,
        cache if keeps_pixels(settings) else None,
        trainer["batch_size"],
        trainer["num_workers"],
        trainer["device"],
        trainer["precision"],
        trainer["compile"],
    )


def find_share(settings: Mapping[str, Any]) -> range | None:
    """Return the shards of `extract.shard`; None if a job computes all free shards.

    Raises:
        TransferkitError: The share is invalid, or the cache is disabled.
    """
    given = (settings.get("extract") or {}).get("shard")
    if given is None:
        return None
    share = parse_share(str(given))
    if not settings["cache"]["enabled"]:
        raise TransferkitError(
            "extract.shard stores a share of the features in the cache, but cache.enabled=false: remove one of these."
        )
    return share


def parse_share(text: str) -> range:
    """Return the shards of share i of n, "i/n", i from 1 on.

    Raises:
        TransferkitError: It is something else.
    """
    found = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text)
    i, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= n <= SHARDS:
        raise TransferkitError(
            f"extract.shard={text}: must be i/n, the i-th of n shares, such as 1/4; n is at most {SHARDS}."
        )
    return range(i - 1, SHARDS, n)
