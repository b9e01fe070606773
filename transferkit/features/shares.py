"""The share of the features that one of several jobs computes: `extract.shard=i/n`."""

import re
from collections.abc import Mapping
from typing import Any

from transferkit.errors import TransferkitError
from transferkit.features.identities import SHARDS


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
