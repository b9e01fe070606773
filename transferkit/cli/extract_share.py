"""`extract.shard=i/n`: one of several jobs that compute the features of a data set, and nothing else."""

import logging
from collections.abc import Mapping
from typing import Any

from transferkit.backbones.backbone import Backbone
from transferkit.choices import SHARDS
from transferkit.data.imagedata import ImageData
from transferkit.features.from_settings import create_extractor
from transferkit.strategies.frozen_features import chosen_pool, named_stages, probe_stages

log = logging.getLogger(__name__)


def extract_share(settings: Mapping[str, Any], data: ImageData, backbone: Backbone) -> None:
    """Compute and store the features of one share of all splits, and report the missing shares.

    Args:
        settings: The resolved configuration.
        data: Train, val and test.
        backbone: The network.
    """
    strategy, given = settings["strategy"], settings["extract"]["shard"]
    stages, pool = share_stages(strategy, backbone), chosen_pool(backbone, strategy)
    extractor = create_extractor(settings)
    i, n = map(int, given.split("/"))
    share, left = range(i - 1, SHARDS, n), 0
    for name, images in data.splits.items():
        done = extractor.extract_share(backbone, images, stages, pool, share)
        left += done.lacking
        counts = done.images, done.mine, done.computed, done.lacking
        log.info("%s: %d images, %d in this share, %d computed now, %d of other shares missing.", name, *counts)
    log.info(
        "Share %s of the features (%s) is stored. %s",
        given,
        ", ".join(stages),
        f"{left} images of other shares are still to be computed, by the same command with those shares "
        f"(extract.shard=i/{n}); then the same command without extract.shard continues."
        if left
        else "All shares are complete: the same command without extract.shard continues from them.",
    )


def share_stages(strategy: Mapping[str, Any], backbone: Backbone) -> list[str]:
    """Return the stages whose features the strategy uses; every stage for finetuning and auto."""
    if "probe" in strategy:
        return probe_stages(backbone, strategy)
    if "neighbors" in strategy:
        return named_stages(backbone, strategy["neighbors"]["stages"], "strategy.neighbors.stages")
    return list(backbone.feature_stages)
