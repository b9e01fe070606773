"""task=demo: a local page on which a fitted model is tried with single pictures."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from transferkit.cli.evaluate import networks_of, required_run
from transferkit.data.images import decode
from transferkit.demo.answer import answer
from transferkit.demo.demo_page import Tried, demo_page
from transferkit.demo.server import DemoServer, Site, is_local
from transferkit.demo.training_images import TrainingImages, find_training_images
from transferkit.ensemble_artifact import read_notes
from transferkit.errors import shown_text
from transferkit.models.ensemble import EnsembleModel, load_model
from transferkit.models.transfer_model import TransferModel
from transferkit.report.run_files import shown_path

log = logging.getLogger(__name__)

ENSEMBLE = "Nearest training images and heat maps are for single models; this is an ensemble."


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Serve the page of the model of `run=` until the process is interrupted.

    Args:
        settings: The resolved configuration.
        run_dir: Gets the log.
    """
    host, port = settings["demo"]["host"], settings["demo"]["port"]
    with DemoServer(host, port, make_site(required_run(settings))) as server:
        if not is_local(host):
            log.warning("demo.host=%s: everyone who reaches this computer can use the page.", shown_text(host))
        log.info("Open %s in a browser; Ctrl-C ends the demo.", server.address, extra={"result": "Open"})
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("The demo has ended.")


def make_site(run: Path) -> Site:
    """Return the pages of the model of a run directory."""
    model = load_model(run)
    training = find_training_images(run, model) if isinstance(model, TransferModel) else ENSEMBLE
    about = describe_model(run, model, training)

    def answered(content: bytes, name: str) -> str:
        return demo_page(about, answer(model, decode(content, name), name, training))

    return Site(partial(demo_page, about), answered, lambda message: demo_page(about, error=message))


def describe_model(run: Path, model: TransferModel | EnsembleModel, training: TrainingImages | str) -> Tried:
    """Return what the page says of a model."""
    networks, dataset = networks_of(model), read_notes(run).get("dataset")
    name = str(dataset.get("name", "")) if isinstance(dataset, dict) else ""
    facts = {
        "Run directory": str(shown_path(run.resolve())),
        "Network": f"{networks['backbone']} ({networks['weights']})",
        **({"Data set": name} if name else {}),
        "Predicts": model.target.words(),
    }
    return Tried(
        f"{networks['backbone']}{f' on {name}' if name else ''}: {model.target.words()}",
        facts,
        bool(model.known),
        model.target.soft_max and model.held_out_scores is not None,
        (training,) if isinstance(training, str) else (),
    )
