"""Where the files of the configuration lie, and which choices each group has. Without Hydra, for a quick --help."""

from pathlib import Path

GROUPS = (
    *("task", "dataset", "backbone", "strategy", "augment", "optimizer", "schedule", "protocol", "trainer", "logger"),
    "experiment",
)
"""In the order in which people think of them."""

PACKAGE = Path(__file__).resolve().parents[1]


def config_dir() -> Path:
    """Return the folder of the configuration groups: inside an installed wheel, beside the package in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def choices(group: str) -> list[str]:
    """Return the names that a group can be set to, in alphabetical order; empty where there is no such group."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml")) if group in GROUPS else []
