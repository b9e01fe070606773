"""The configuration files and the choices of each group, found without Hydra, for a fast --help."""

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
