"""task=advise: measure a data set with a backbone; print and report the recommended strategy."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.advisor.advice import advise, to_json
from transferkit.advisor.advice_page import write_advice_page
from transferkit.advisor.text import advice_text
from transferkit.cli.pick_network import backbone_arguments
from transferkit.cli.prepare import compared_networks, prepare
from transferkit.features.from_settings import make_extractor
from transferkit.files import write_json
from transferkit.quality.first_look import first_look, first_look_lines
from transferkit.report.command_text import command_line, command_of, kept_arguments
from transferkit.report.facts import plural
from transferkit.report.next_steps import Step
from transferkit.report.run_files import shown_path
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Measure, and write the advice.

    Args:
        settings: The resolved configuration.
        run_dir: Gets `advice.json` and `report.html`.
    """
    most = settings["task"]["max_images"]
    timer = StepTimer()
    data, backbone = prepare(settings, run_dir, timer)
    with timer.step("advise"):
        advice = advise(backbone, data, settings, make_extractor(settings), most)
    title = (
        f"{data.name}: {len(data.train):,} training images, {len(data.class_names)} classes, through "
        f"{backbone.spec.name} ({backbone.weights_name})"
    )
    about = {
        "dataset": data.name,
        "backbone": backbone.spec.name,
        "weights": backbone.weights_name,
        "seed": settings["seed"],
        "command": command_line(),
    }
    compared = compared_networks(settings, run_dir)
    problems = first_look(data, advice)
    network = backbone_arguments(compared["networks"]["used"], backbone) if compared else []
    seen = first_look_lines(problems, [*same_data(), "task=check", *network])
    content = {
        **about,
        **to_json(advice),
        **compared,
        "problems": {**problems, "lines": seen},
        "seconds": timer.seconds(),
    }
    write_json(run_dir / "advice.json", content)
    write_advice_page(run_dir / "report.html", content, data.split_note, next_steps(content, network))
    log.info(
        "%s\n\nProblems of the data\n%s\n\n  time              %.1f s\n  report            %s\n  next command      %s",
        advice_text(advice, title),
        "\n".join(f"  - {line}" for line in seen),
        timer.seconds()["total"],
        shown_path(run_dir) / "report.html",
        fit_command(advice.verdict.recommended, network),
        extra={"result": f"{advice.verdict.size.capitalize()} and "},
    )


def next_steps(content: Mapping[str, Any], network: Sequence[str]) -> list[Step]:
    """Return what to do after an advice.

    Args:
        content: Of advice.json.
        network: The arguments for the network that was chosen, if several were compared.
    """
    recommended, found = content["quadrant"]["recommended"], content["problems"]
    fit = Step("Fit the recommended strategy.", fit_command(recommended, network))
    auto = Step("Or let trials on held-out images choose among the best candidates.", fit_command("auto", network))
    doubted = found["duplicates"] + (found["labels"] or 0)
    if not doubted:
        return [fit, auto]
    doubts = (found["duplicates"], "duplicate"), (found["labels"] or 0, "suspected label error")
    text = f"Look at the {' and '.join(plural(count, what) for count, what in doubts if count)}."
    return [Step(text, command_of(*same_data(), "task=check", *network)), fit, auto]


def fit_command(strategy: str, backbone: Sequence[str] = ()) -> str:
    """The command line that fits the recommended strategy with the same data and network.

    Args:
        strategy: Its name.
        backbone: The arguments for the network that was chosen, if several were compared.
    """
    return command_of(*same_data(), *backbone, f"strategy={strategy}")


def same_data() -> list[str]:
    """The arguments of this command for data and network."""
    return kept_arguments("task=", "task.", "strategy", "hydra.", "backbones=")
