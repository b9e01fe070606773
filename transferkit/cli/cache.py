"""task=cache: list the entries of the cache, and remove some."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.errors import TransferkitError
from transferkit.features.store import default_cache_dir
from transferkit.features.store_entries import GIGABYTE, Listed, list_entries, remove_entries
from transferkit.files import write_csv

log = logging.getLogger(__name__)

COLUMNS = ("key", "kind", "network", "weights", "stage", "pool", "precision", "rows", "bytes", "last_use")
SHOWN = 8
"""Characters shown of a key, or of a digest of weights."""

DAY = 86400.0


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """List the entries of the cache, in cache.csv too; remove those of `cache.clear`.

    Raises:
        TransferkitError: `cache.clear` matches no entry.
    """
    cache = settings["cache"]
    root = Path(cache["dir"]).expanduser() if cache["dir"] else default_cache_dir()
    entries = list_entries(root)
    if cache["clear"] is not None:
        chosen = choose(entries, cache["clear"], cache["unused_days"] * DAY, time.time())
        stay = remove_entries(chosen)
        log.info("%s", removal(chosen, stay))
        entries = list_entries(root)
    write_csv(run_dir / "cache.csv", COLUMNS, (cells(entry) for entry in entries))
    log.info("%s", table(entries, root, cache["max_gb"]))


def choose(entries: Sequence[Listed], wanted: str, unused_seconds: float, now: float) -> list[Listed]:
    """Return the entries of `wanted`: all, unused ones, old ones, or those whose key has this prefix.

    Raises:
        TransferkitError: No key has this prefix.
    """
    if wanted == "all":
        return list(entries)
    if wanted == "old":
        return [entry for entry in entries if entry.old]
    if wanted == "unused":
        return [entry for entry in entries if now - entry.used > unused_seconds]
    chosen = [entry for entry in entries if wanted and entry.key.startswith(wanted.lower())]
    if not chosen:
        raise TransferkitError(
            f"cache.clear={wanted}: no key has this prefix. Valid: all, unused, old, or the beginning of a key that "
            "`python -m transferkit task=cache` shows."
        )
    return chosen


def cells(entry: Listed) -> list[str | int]:
    """Return a row of cache.csv; missing values are empty."""
    about = entry.description
    network = about.get("network")
    name = network.get("name", "") if isinstance(network, Mapping) else network or ""
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)) if entry.used else ""
    words = [str(about.get(key) or "") for key in ("weights", "stage", "pool", "precision")]
    kind = f"{entry.kind} (old)" if entry.old else entry.kind
    return [entry.key, kind, str(name), *words, entry.rows, entry.size, used]


def table(entries: Sequence[Listed], root: Path, max_gb: float) -> str:
    """Return the entries as lines for the screen, and their total size."""
    if not entries:
        return f"The cache {root} is empty."
    rows: list[tuple[str, ...]] = [
        ("key", "kind", "network", "weights", "stage", "pool", "precision", "rows", "size", "last use")
    ]
    for entry in entries:
        key, kind, network, weights, stage, pool, precision, count, size, used = cells(entry)
        precision = str(precision).removeprefix("torch.")
        shown = (str(key)[:SHOWN], kind, network, str(weights)[:SHOWN], stage, pool, precision, count, _size(int(size)))
        rows.append((*map(str, shown), str(used)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = {7, 8}
    lines = [
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    total = sum(entry.size for entry in entries)
    lines.append(f"\n{len(entries)} entries, {_size(total)} of at most {max_gb:g} GB (cache.max_gb), in {root}")
    if old := sum(entry.old for entry in entries):
        lines.append(f"{old} of an old format are not used any more: cache.clear=old removes them.")
    lines.append("To remove some: cache.clear=all, cache.clear=unused or cache.clear=KEY (or its first characters).")
    return "\n".join(line.rstrip() for line in lines)


def removal(chosen: Sequence[Listed], stay: Sequence[Listed]) -> str:
    """Return which entries were removed and which were not, as lines for the screen."""
    gone = [entry for entry in chosen if entry not in stay]
    lines = [f"Removed {len(gone)} of {len(chosen)} entries, {_size(sum(entry.size for entry in gone))}."]
    lines += [
        f"{entry.key[:SHOWN]} ({entry.kind}) is not removed: it is in use, or contains other files." for entry in stay
    ]
    return "\n".join(lines)


def _size(size: int) -> str:
    return f"{size / GIGABYTE:.2f} GB" if size >= GIGABYTE else f"{size / 1e6:.1f} MB"
