"""The end of a fit of strategy=auto that selects the mean of several models: members, artifact, figures and report."""

from collections.abc import Mapping
from typing import Any

import torch

from transferkit.cli.joined import Join, Member, show, write_mean
from transferkit.cli.prepare import compared_networks, describe
from transferkit.files import write_json
from transferkit.models.protocols import center_probabilities, run_protocols
from transferkit.models.transfer_model import save_model
from transferkit.report.run_files import artifact_notes
from transferkit.strategies.context import Context
from transferkit.strategies.fitted import Fitted, FittedMember
from transferkit.strategies.held_out import add_held_out_parts


def write_average(context: Context, fitted: Fitted, split_seed: int | None = None) -> None:
    """Evaluate the members, and write the ensemble with its metrics, predictions and report.

    Args:
        context: Of the fit.
        fitted: Its members are saved below `run_dir/members`, by the names of their strategies.
        split_seed: The seed of the splits, where it is another than that of the fit.
    """
    settings, run_dir, timer = context.settings, context.run_dir, context.timer
    notes = artifact_notes(settings, split_seed)
    members = [_saved(context, member, notes) for member in fitted.members]
    about = describe(settings, context.data, context.backbone, fitted.model)
    facts = {
        "strategy": settings["strategy"]["name"],
        "precision": about["precision"],
        "seed": about["seed"],
        "trainable_parameters": fitted.trainable_parameters,
        **fitted.details,
        **compared_networks(settings, run_dir),
    }
    join = Join(
        settings=settings,
        run_dir=run_dir,
        data=context.data,
        members=members,
        notes=notes,
        facts=facts,
        shares=[member.share for member in fitted.members],
        held_out=fitted.out_of_fold,
    )
    metrics = write_mean(join, [member.folder for member in members])
    metrics = {**metrics, "seconds": timer.seconds()}
    write_json(run_dir / "metrics.json", metrics)
    if context.logger:
        context.logger.log_result(settings, metrics)
    show(metrics, run_dir)


def _saved(context: Context, member: FittedMember, notes: Mapping[str, Any]) -> Member:
    """Save a member with what comes from held-out images, and test it."""
    settings, data = context.settings, context.data
    name, fitted = str(member.strategy["name"]), add_held_out_parts(context, member.fitted)
    folder = context.run_dir / "members" / name
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, fitted.model, **{**notes, "strategy": member.strategy})
    with context.timer.step("evaluate"), torch.no_grad():
        tested = run_protocols(settings, fitted.model, data.test, context.extract)
        val = center_probabilities(fitted.model, data.val, context.extract)
    return Member(folder, name, fitted.model.target, tested, val)
