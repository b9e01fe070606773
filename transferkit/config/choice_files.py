"""The configuration files and the choices of each group, found without Hydra, for a fast --help."""

import re
from functools import cache
from pathlib import Path

GROUPS = (
    *("task", "dataset", "backbone", "strategy", "augment", "optimizer", "schedule"),
    *("selection", "protocol", "trainer", "logger"),
    "experiment",
)
"""The groups, in the order of --help."""

PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """Return the folder of the configuration groups: inside an installed wheel, beside the package in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def choices(group: str) -> list[str]:
    """Return the choices of a group in alphabetical order; empty for an unknown group."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml")) if group in GROUPS else []


@cache
def top_level_keys() -> list[str]:
    """Return the keys of `conf/config.yaml` outside its defaults: `seed`, `run`, `cache` and so on."""
    text = (config_dir() / "config.yaml").read_text(encoding="utf-8")
    return [key for key in re.findall(r"^(\w+):", text, re.MULTILINE) if key != "defaults"]
