"""The results of several models joined into one: artifact, figures, predictions and report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.arrays import Doubles, Probabilities
from transferkit.cli.evaluate import labels_of_model, networks_of
from transferkit.cli.prepare import target_entry
from transferkit.data.imagedata import ImageData
from transferkit.ensemble_artifact import write_ensemble
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import make_extractor
from transferkit.models.conformal import true_class_scores
from transferkit.models.ensemble import EnsembleModel, mean_results
from transferkit.models.protocols import ProtocolResult, center_probabilities, run_protocols
from transferkit.models.soup import greedy_soup, uniform_soup
from transferkit.models.transfer_model import TransferModel, save_model
from transferkit.models.transfer_model import load_model as load_one
from transferkit.ranking import score
from transferkit.report.command_text import command_line, kept_arguments, predict_command
from transferkit.report.ensemble_table import disagreement, ensemble_table, gain
from transferkit.report.parts_by_target import main_words, score_lines
from transferkit.report.protocol_table import metrics_of, protocol_rows, protocol_table, write_protocols
from transferkit.report.run_files import shown_path
from transferkit.report.run_result import RunResult
from transferkit.report.target_page import write_outputs, write_page
from transferkit.strategies.fitted import OutOfFold
from transferkit.targets.target import Target
from transferkit.untrusted import UnreadableFile, read_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """A fitted model to join.

    Attributes:
        folder: Of its artifact.
        name: In tables.
        target: What it predicts.
        tested: Its results on test, by protocol.
        val: Its probabilities (N_val, K).
    """

    folder: Path
    name: str
    target: Target
    tested: Mapping[str, ProtocolResult]
    val: Probabilities

    @property
    def fitted_val(self) -> bool:
        """Whether it was fitted on val too, as `metrics.json` beside the artifact says; folds chose then."""
        try:
            metrics = read_json(self.folder / "metrics.json")
        except UnreadableFile:
            return True  # not known, so not counted as held out
        selection = metrics.get("selection")
        return not isinstance(selection, dict) or selection.get("by") == "cv"


@dataclass(frozen=True)
class Join:
    """Models to join, with their results.

    Attributes:
        settings: The resolved configuration.
        run_dir: Gets the files.
        data: Whose test images the models were tested on.
        members: The models.
        notes: Further entries of the artifact.
        facts: Further entries of the metrics.
        shares: Of the members in the mean; None for equal ones.
        held_out: Predictions of the mean for images that no member was fitted on; by default of val, where it was held
            out.
    """

    settings: Mapping[str, Any]
    run_dir: Path
    data: ImageData
    members: Sequence[Member]
    notes: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    shares: Sequence[float] | None = None
    held_out: OutOfFold | None = None


def write_mean(join: Join, copies: Sequence[Path]) -> dict[str, Any]:
    """Write the artifact of the ensemble, predictions and report; return the metrics.

    Args:
        join: The members.
        copies: Their artifacts below the run directory.
    """
    held_out = join.held_out
    if held_out is None and not any(member.fitted_val for member in join.members):
        held_out = _on_val(join, np.mean([member.val for member in join.members], axis=0))
    scores = _scores(join, held_out)
    write_ensemble(join.run_dir, copies, None if scores is None else scores.tolist(), join.shares, **join.notes)
    model = EnsembleModel([load_one(copy) for copy in copies], shares=join.shares)
    tested = mean_results([member.tested for member in join.members], model.shares)
    return _write(join, model, tested, held_out, {"how": "mean", "networks": len(copies)})


def write_soup(join: Join, how: str) -> dict[str, Any]:
    """Write the artifact of a soup, predictions and report; return the metrics.

    Raises:
        TransferkitError: A greedy soup needs val, on which some model was fitted.
    """
    labels, extract = _val_labels(join), make_extractor(join.settings)
    fitted = [member.name for member in join.members if member.fitted_val]
    about: dict[str, Any] = {"how": how, "networks": 1}

    def rank_on_val(probabilities: Probabilities) -> float:
        return score(*join.members[0].target.rank(probabilities, labels), len(labels))

    if how == "uniform_soup":
        soup = uniform_soup(load_one(member.folder) for member in join.members)
    elif fitted:
        raise TransferkitError(
            f"A greedy soup is chosen on val, which {fitted[0]} was fitted on (folds chose): fit with selection=val, "
            "or task.how=uniform_soup."
        )
    else:
        order = sorted(join.members, key=lambda member: -rank_on_val(member.val))
        soup, kept = greedy_soup(
            (load_one(member.folder) for member in order),
            lambda model: rank_on_val(center_probabilities(model, join.data.val, extract)),
        )
        about["kept"] = [order[place].name for place in kept]
    held_out = None
    if not fitted:
        held_out = _on_val(join, center_probabilities(soup, join.data.val, extract))
        soup.held_out_scores = _scores(join, held_out)
    save_model(join.run_dir, soup, **join.notes)
    tested = run_protocols(join.settings, soup, join.data.test, extract)
    return _write(join, soup, tested, held_out, about)


def _val_labels(join: Join) -> Any:
    return labels_of_model(join.data, join.members[0].target, "val")


def _on_val(join: Join, outputs: Probabilities) -> OutOfFold:
    """Outputs (N_val, K) for val, which no member was fitted on."""
    return OutOfFold(outputs, _val_labels(join), np.arange(len(outputs)), join.members[0].target)


def _scores(join: Join, held_out: OutOfFold | None) -> Doubles | None:
    """Scores for sets of classes; None without held-out images, or without classes."""
    if held_out is None or not join.members[0].target.soft_max:
        return None
    return true_class_scores(held_out.probabilities, held_out.labels)


def _write(
    join: Join,
    model: TransferModel | EnsembleModel,
    tested: Mapping[str, ProtocolResult],
    held_out: OutOfFold | None,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write predictions, protocols and report; return the metrics."""
    data, target, labels = join.data, model.target, labels_of_model(join.data, model.target)
    rows = protocol_rows(tested, labels, target)
    first = next(iter(rows))
    each = [member.tested[first].probabilities for member in join.members]
    own = [target.metrics(outputs, labels) for outputs in each]
    test = metrics_of(rows[first])
    metrics = {
        "test": test,
        **({} if held_out is None else {"val": held_out.metrics()}),
        "dataset": data.name,
        "protocol": first,
        "protocols": rows,
        "num_classes": len(model.class_names),
        **target_entry(target),
        "data": data.facts(),
        **networks_of(model),
        "total_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "ensemble": {
            **about,
            **gain(test[target.main], [figures[target.main] for figures in own], target.main),
            "disagreement": disagreement(each, target),
            "members": [
                {"run": m.name, "test": figures, **({} if join.shares is None else {"share": join.shares[place]})}
                for place, (m, figures) in enumerate(zip(join.members, own, strict=True))
            ],
        },
        **join.facts,
    }
    outputs = tested[first].probabilities
    write_outputs(join.run_dir / "predictions.csv", data.test.names, labels, outputs, target)
    write_protocols(join.run_dir, rows)
    shown = str(shown_path(join.run_dir))
    result = RunResult(
        settings=join.settings,
        command=command_line(),
        metrics={**metrics, "model": shown, "seconds": {}},
        class_names=model.class_names,
        test=data.test.relabel(labels),
        probabilities=outputs,
        split_note=data.split_note,
        class_counts=data.class_counts(),
        arguments=kept_arguments("task=", "task.", "runs=", "hydra.", "ensemble=", "-"),
        run=shown,
        other_target=target,
        sizes={name: len(images) for name, images in data.splits.items()},
    )
    write_page(join.run_dir / "report.html", result)
    return metrics


def show(metrics: Mapping[str, Any], run_dir: Path) -> None:
    """Log the result, as the screen shows it."""
    shown, kind = shown_path(run_dir), metrics.get("target", {}).get("kind", "class")
    figures, *more = score_lines(metrics["test"], kind)
    lines = [
        f"\n{metrics['dataset']}, {len(metrics['ensemble']['members'])} models joined: {metrics['ensemble']['how']}",
        figures,
        *more,
        ensemble_table(metrics, kind),
        *([protocol_table(metrics["protocols"], kind)] if len(metrics["protocols"]) > 1 else []),
        f"  report              {shown / 'report.html'}",
        f"  predict             {predict_command(shown)}",
    ]
    log.info("%s", "\n".join(lines), extra={"result": main_words(kind)})
