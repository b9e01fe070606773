"""Names of runs: the folder of a data set without a name, and names as parts of a path.

Imported at every start, so without heavy imports.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

LONGEST = 120
"""Maximum bytes of a name in a path."""


def dataset_name(dataset: Mapping[str, Any]) -> str:
    """Return the name of a data set: its name, else that of its folder or its table, else its kind."""
    if dataset.get("name") not in (None, ""):
        return str(dataset["name"])
    kind = str(dataset.get("kind") or "dataset")
    where = dataset.get({"folder": "root", "csv": "file"}.get(kind, ""))
    if not isinstance(where, str | int | os.PathLike) or isinstance(where, bool) or "\0" in str(where):
        return kind
    path = Path(os.path.abspath(os.path.expanduser(str(where))))
    return (path.stem if kind == "csv" else path.name) or kind


def path_part(name: str) -> str:
    """Return `name` as one part of a path that needs no quotes: letters, digits, and . _ + -; never "..", or empty."""
    kept = "".join(c if c.isalnum() or c in "._+-" else "_" for c in name)
    return kept.encode("utf-8", "ignore")[:LONGEST].decode("utf-8", "ignore").lstrip(".") or "unnamed"


def path_name(group: str, *, _root_: DictConfig) -> str:
    """Return the part of a run's path for the group `dataset`, `backbone` or `strategy`; absent ones do not fail.

    Hydra resolves it before the configuration is checked.
    """
    if group == "backbone" and OmegaConf.select(_root_, "backbones"):
        return "several"
    node = OmegaConf.select(_root_, group)
    if not isinstance(node, DictConfig):
        return f"no_{group}"
    values = {str(key): OmegaConf.select(node, str(key)) for key in ("name", "kind", "root", "file")}
    return path_part(dataset_name(values) if group == "dataset" else str(values["name"] or "unnamed"))


def register() -> None:
    """Register `${path_name:dataset}` with OmegaConf."""
    OmegaConf.register_new_resolver("path_name", path_name, replace=True)
