"""`backbones=[...]`: comparison of several networks, and the one that task=advise or strategy=auto goes on with."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.advisor.network_table import networks_text, read_networks, to_plain, write_networks
from transferkit.advisor.networks import compare_networks, load_networks
from transferkit.backbones.backbone import Backbone
from transferkit.config.choice_files import choices
from transferkit.data.imagedata import ImageData
from transferkit.errors import TransferkitError

log = logging.getLogger(__name__)


def pick_network(settings: Mapping[str, Any], data: ImageData, run_dir: Path) -> Backbone:
    """Compare the networks of `backbones`; print the table, write it to the run directory, and return one of them.

    task=advise goes on with the most accurate one, strategy=auto with the cheapest within a standard error of it. A fit
    that is resumed goes on with the network that it had.

    Args:
        settings: The resolved configuration.
        data: The splits.
        run_dir: Gets networks.csv and networks.json.

    Raises:
        TransferkitError: `backbone` was given as well, a name is unknown, or the weights of none can be had.
    """
    names = settings["backbones"]
    if "backbone" in settings.get("choices", ()):
        raise TransferkitError("backbones=[...] is used in place of backbone=...: give one of them.")
    auto = settings["task"]["name"] == "fit"
    most = settings["strategy"]["auto"]["max_images"] if auto else settings["task"]["max_images"]
    found = {"names": names, "seed": settings["seed"], "dataset": settings["dataset"]["name"], "max_images": most}
    earlier = read_networks(run_dir) if auto else None
    if earlier is not None and earlier.get("compared") == found:
        log.info("Goes on with %s, chosen before the interruption.", earlier["used"])
        return load_networks([earlier["used"]])[0][earlier["used"]]
    backbones, left_out = load_networks(names)
    plain = to_plain(compare_networks(data, backbones, left_out, settings, most), frugal=auto)
    write_networks(run_dir, {**plain, "compared": found})
    log.info("\n%s\n", networks_text(plain))
    return backbones[plain["used"]]


def backbone_arguments(name: str, backbone: Backbone) -> list[str]:
    """Return the arguments of the command line for a network that was named in `backbones`."""
    if name in choices("backbone"):
        return [f"backbone={name}"]
    return [f"backbone={backbone.spec.source}", f"backbone.name={name}"]
