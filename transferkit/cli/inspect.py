"""task=inspect: the layers of a network, what training them needs, and what they do with real images."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.cli.prepare import prepare
from transferkit.inspection.compare_networks import compare_networks
from transferkit.inspection.describe_network import describe_network
from transferkit.inspection.initialisation import all_depths
from transferkit.inspection.initialisation_page import initialisation_text, write_initialisation
from transferkit.inspection.inspect_page import write_inspect_page
from transferkit.inspection.inspect_text import inspection_text
from transferkit.inspection.inspected import write_tables
from transferkit.inspection.networks_page import networks_text, write_networks
from transferkit.report.command_text import command_line, command_of, kept_arguments
from transferkit.report.next_steps import Step
from transferkit.report.run_files import shown_path
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Inspect a network, or several beside each other.

    Args:
        settings: The resolved configuration.
        run_dir: Gets layers.csv and inspect.json, or networks.csv; and report.html.
    """
    if settings["inspect"]["what"] == "initialisation":
        depths = all_depths(settings["seed"])
        write_initialisation(run_dir, depths, command_line())
        log.info("%s\n\n  report            %s", initialisation_text(depths), shown_path(run_dir) / "report.html")
        return
    if settings["inspect"]["compare"]:
        networks = compare_networks(settings)
        write_networks(run_dir, networks, command_line())
        log.info("%s\n\n  report            %s", networks_text(networks), shown_path(run_dir) / "report.html")
        return
    images = settings["inspect"]["images"]
    data, backbone = prepare(settings, run_dir, StepTimer()) if images else (None, None)
    inspected = describe_network(settings, backbone, data)
    text = inspection_text(inspected, settings["inspect"]["unfold"])
    write_tables(run_dir, inspected)
    write_inspect_page(run_dir / "report.html", inspected, command_line(), next_steps(settings))
    more = "" if images else "\n  on real images    inspect.images=64 measures activations and gradients"
    log.info("\n%s\n\n  report            %s%s", text, shown_path(run_dir) / "report.html", more)


def next_steps(settings: Mapping[str, Any]) -> list[Step]:
    """Return what to do after an inspection of one network."""
    kept = kept_arguments("task=", "inspect.", "hydra.", "strategy=")
    mine = [] if "dataset" in settings["choices"] else ["dataset=folder", "dataset.root=DIR"]
    steps = [Step("Fit it to images, one folder per class.", command_of("task=fit", *kept, *mine))]
    if not settings["inspect"]["images"]:
        real = command_of("task=inspect", *kept, *mine, "inspect.images=64")
        steps.insert(0, Step("Measure its activations and gradients on real images.", real))
    return steps
