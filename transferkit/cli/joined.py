"""The results of several models joined into one: artifact, figures, predictions and report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.arrays import Probabilities
from transferkit.cli.evaluate import labels_of_model, networks_of
from transferkit.data.imagedata import ImageData
from transferkit.ensemble_artifact import write_ensemble
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import make_extractor
from transferkit.metrics import compute_metrics, top_k
from transferkit.models.conformal import true_class_scores
from transferkit.models.ensemble import EnsembleModel, mean_results
from transferkit.models.protocols import ProtocolResult, center_probabilities, run_protocols
from transferkit.models.soup import greedy_soup, uniform_soup
from transferkit.models.transfer_model import TransferModel, save_model
from transferkit.models.transfer_model import load_model as load_one
from transferkit.report.command_text import command_line, kept_arguments, predict_command
from transferkit.report.ensemble_table import disagreement, ensemble_table, gain
from transferkit.report.protocol_table import metrics_of, protocol_rows, protocol_table, write_protocols
from transferkit.report.run_files import shown_path, write_predictions
from transferkit.report.run_page import write_report
from transferkit.report.run_result import RunResult
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
        val, labels = np.mean([member.val for member in join.members], axis=0), _val_labels(join)
        held_out = OutOfFold(val, labels, np.arange(len(labels)))
    scores = None if held_out is None else true_class_scores(held_out.probabilities, held_out.labels).tolist()
    write_ensemble(join.run_dir, copies, scores, join.shares, **join.notes)
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

    def score(model: TransferModel) -> float:
        return top_k(center_probabilities(model, join.data.val, extract), labels, 1)

    if how == "uniform_soup":
        soup = uniform_soup(load_one(member.folder) for member in join.members)
    elif fitted:
        raise TransferkitError(
            f"A greedy soup is chosen on val, which {fitted[0]} was fitted on (folds chose): fit with selection=val, "
            "or task.how=uniform_soup."
        )
    else:
        order = sorted(join.members, key=lambda member: -top_k(member.val, labels, 1))
        soup, kept = greedy_soup((load_one(member.folder) for member in order), score)
        about["kept"] = [order[place].name for place in kept]
    held_out = None
    if not fitted:
        val = center_probabilities(soup, join.data.val, extract)
        held_out = OutOfFold(val, labels, np.arange(len(labels)))
        soup.held_out_scores = true_class_scores(val, labels)
    save_model(join.run_dir, soup, **join.notes)
    tested = run_protocols(join.settings, soup, join.data.test, extract)
    return _write(join, soup, tested, held_out, about)


def _val_labels(join: Join) -> Any:
    return labels_of_model(join.data, join.members[0].target, "val")


def _write(
    join: Join,
    model: TransferModel | EnsembleModel,
    tested: Mapping[str, ProtocolResult],
    held_out: OutOfFold | None,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write predictions, protocols and report; return the metrics."""
    data, labels = join.data, labels_of_model(join.data, model.target)
    rows = protocol_rows(tested, labels)
    first = next(iter(rows))
    each = [member.tested[first].probabilities for member in join.members]
    own = [compute_metrics(probabilities, labels) for probabilities in each]
    test = metrics_of(rows[first])
    metrics = {
        "test": test,
        **({} if held_out is None else {"val": held_out.metrics()}),
        "dataset": data.name,
        "protocol": first,
        "protocols": rows,
        "num_classes": len(model.class_names),
        "data": data.facts(),
        **networks_of(model),
        "total_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "ensemble": {
            **about,
            **gain(test["top1"], [float(figures["top1"]) for figures in own]),
            "disagreement": disagreement(each),
            "members": [
                {"run": m.name, "test": figures, **({} if join.shares is None else {"share": join.shares[place]})}
                for place, (m, figures) in enumerate(zip(join.members, own, strict=True))
            ],
        },
        **join.facts,
    }
    predictions = join.run_dir / "predictions.csv"
    probabilities = tested[first].probabilities
    write_predictions(predictions, data.test.names, labels, probabilities, model.class_names)
    write_protocols(join.run_dir, rows)
    shown = str(shown_path(join.run_dir))
    result = RunResult(
        settings=join.settings,
        command=command_line(),
        metrics={**metrics, "model": shown, "seconds": {}},
        class_names=model.class_names,
        test=data.test.relabel(labels),
        probabilities=probabilities,
        split_note=data.split_note,
        class_counts=data.class_counts(),
        arguments=kept_arguments("task=", "task.", "runs=", "hydra.", "ensemble=", "-"),
        run=shown,
    )
    write_report(join.run_dir / "report.html", result)
    return metrics


def screen(metrics: Mapping[str, Any], run_dir: Path) -> str:
    """Return the result for the screen."""
    test, shown = metrics["test"], shown_path(run_dir)
    lines = [
        f"\n{metrics['dataset']}, {len(metrics['ensemble']['members'])} models joined: {metrics['ensemble']['how']}",
        f"  test top-1          {100 * test['top1']:6.2f} %   on {test['n']} images",
        ensemble_table(metrics),
        *([protocol_table(metrics["protocols"])] if len(metrics["protocols"]) > 1 else []),
        f"  report              {shown / 'report.html'}",
        f"  predict             {predict_command(shown)}",
    ]
    return "\n".join(lines)
