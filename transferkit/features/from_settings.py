"""The function that computes features, from the configuration."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from transferkit.backbones.backbone import Backbone
from transferkit.data.imageset import ImageSet
from transferkit.features.extract import ExtractionStats, Extractor
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
    """
    extractor = create_extractor(settings)

    def extract(
        backbone: Backbone, images: ImageSet, stages: list[str], pool: str = "auto"
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        pool = backbone.pool_name(pool)
        names = backbone.match(stages)
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
