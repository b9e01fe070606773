"""The phases of a plan, one fit each; a phase that only makes val worse is undone, a finished one is not repeated."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.arrays import Probabilities
from transferkit.data.sources.generated import mixed
from transferkit.device import autocast, run_place
from transferkit.features.stored_inputs import StoredInputs
from transferkit.models.protocols import center_probabilities
from transferkit.ranking import rank
from transferkit.strategies.context import Context
from transferkit.strategies.phase_data import Batches, make_batches
from transferkit.strategies.stops import Stop, phases_until
from transferkit.strategies.training_settings import train_settings
from transferkit.training.auxiliary import GROUP
from transferkit.training.checkpoint_files import CheckpointFiles, read_checkpoint
from transferkit.training.finetune_module import FinetuneModule, scaled_rates
from transferkit.training.plan import Phase
from transferkit.training.run_phase import Trained, TrainSettings, fit_module

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhaseOutcome:
    """One fitted phase.

    Attributes:
        trained: Its history, and the epoch whose weights the module has.
        val: Probabilities (N_val, K) with these weights.
        steps_per_epoch: Optimizer steps in one.
        prefix: Where the activations of the frozen stages were cached, for metrics.json.
    """

    trained: Trained
    val: Probabilities
    steps_per_epoch: int
    prefix: Mapping[str, Any]


@dataclass(frozen=True)
class Phases:
    """All phases, one after the other.

    Attributes:
        val: Probabilities (N_val, K) of the module after the last one.
        history: One row per epoch, with its `phase`.
        figures: By phase, the entry in metrics.json.
        course: Probabilities (N_val, K) at every stop (`stops.all_stops`), where the plan was carried out to its end.
        wise_ft: The entry of metrics.json about the mean with the weights before training; empty without one.
    """

    val: Probabilities
    history: list[Mapping[str, Any]]
    figures: dict[str, dict[str, Any]]
    course: Sequence[Probabilities] = ()
    wise_ft: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether the weights of any phase were kept."""
        kept = any(figures["best_epoch"] for figures in self.figures.values())
        return kept and bool(self.wise_ft.get("share", 1.0))


def run_phases(module: FinetuneModule, context: Context) -> Phases:
    """Fit the phases of the module's plan; each starts from the best epoch on val of the one before.

    The state before a phase counts as its epoch 0, which is restored if no epoch was better on val.
    """
    module.merge()  # making the module has begun its first phase
    val = center_probabilities(module.model.eval(), context.data.val, context.extract)
    history: list[Mapping[str, Any]] = []
    figures: dict[str, dict[str, Any]] = {}
    labels, target = context.data.val.labels, context.data.target
    with context.timer.step("fit"):
        for number, phase in enumerate(module.plan.phases):
            before = _state(module, [*phase.rates(module.stage_names), GROUP])
            module.begin(phase.name)
            outcome = fit_phase(module, context, number, train_settings(context, module.plan, phase.epochs))
            first = target.rank(val, labels)
            kept = rank(*target.rank(outcome.val, labels)) >= rank(*first)
            if kept:
                val = outcome.val
            else:
                log.info("Phase %s: no epoch improved val; the weights before the phase are kept.", phase.name)
                module.load_state_dict(before, strict=False)
            history += [{"phase": phase.name, **row} for row in outcome.trained.history]
            figures[phase.name] = _figures(module, outcome, outcome.trained.best_epoch if kept else 0)
            figures[phase.name]["before"] = {"val_top1": first[0], "val_loss": first[1]}
    return Phases(val, history, figures)


def run_until(module: FinetuneModule, context: Context, stop: Stop, held_out: bool = True) -> Phases:
    """Fit the phases of the module's plan up to a stop, without choosing anything on val.

    Args:
        module: Left with the weights at the stop.
        context: Its val is evaluated after every epoch, for `Phases.course`.
        stop: The last epoch.
        held_out: Whether val is not a part of train, so that its figures mean something.
    """
    module.merge()  # making the module has begun its first phase
    course = [center_probabilities(module.model.eval(), context.data.val, context.extract)]
    history: list[Mapping[str, Any]] = []
    figures: dict[str, dict[str, Any]] = {}
    val = course[0]
    with context.timer.step("fit"):
        for number, (phase, epochs) in enumerate(phases_until(module.plan, stop)):
            module.begin(phase.name)
            settings = train_settings(context, module.plan, phase.epochs)
            settings = replace(settings, stop_after=epochs, keep="last", keep_val=held_out, early_stopping=None)
            settings = replace(settings, held_out=held_out)
            outcome = fit_phase(module, context, number, settings)
            val = outcome.val
            course += [found.numpy() for found in outcome.trained.val]
            history += [{"phase": phase.name, **row} for row in outcome.trained.history]
            figures[phase.name] = _figures(module, outcome, epochs)
    return Phases(val, history, figures, course)


def fit_phase(module: FinetuneModule, context: Context, number: int, run: TrainSettings) -> PhaseOutcome:
    """Fit the phase that the module has begun, or read its result if it is finished.

    Args:
        module: Left with the weights of the best epoch, or of the last.
        context: Its run directory gets what is needed to resume the phase or to skip it.
        number: The place of the phase in the plan, from 0.
        run: The settings of the fit.
    """
    phase = module.phase
    folder = phase_folder(context, number, phase)
    finished = CheckpointFiles(folder).newest().get("phase")
    if finished is not None:
        log.info("Phase %s is finished already.", phase.name)
        trained = fit_module(module, None, run, folder)
        module.merge()
        return _read(trained, finished)
    batches = phase_batches(module, context, number)
    steps, rates = batches.data.steps_per_epoch, scaled_rates(module)
    log.info(
        "Phase %s: %d epochs of %d steps, %s; trained%s: %s; frozen: %s.",
        *(phase.name, run.stop_after or phase.epochs, steps, run.precision, _part(module)),
        ", ".join(f"{name} ({rate:.2g})" for name, rate in rates.items()),
        ", ".join(name for name in module.stage_names if name not in rates) or "nothing",
    )
    trained = fit_module(module, batches.data, run, folder)
    module.merge()
    outcome = PhaseOutcome(trained, val_probabilities(module, batches.data.val, context), steps, batches.prefix)
    _write(outcome, folder)
    return outcome


def phase_folder(context: Context, number: int, phase: Phase) -> Path:
    """The folder of the checkpoints of a phase, whose place in the plan is counted from 0."""
    return context.run_dir / "checkpoints" / f"{number + 1}_{phase.name}"


def _part(module: FinetuneModule) -> str:
    """For the log: the part of the stages that is trained, and the decay of their rates."""
    which, decay = module.phase.parameters, module.phase.lr_decay
    narrow = "" if which == "all" else f" ({which}: {module.trainable_parameters:,} parameters with the head)"
    return narrow if decay == 1 else f"{narrow}, rates times {decay:g} for each layer above"


def phase_batches(module: FinetuneModule, context: Context, number: int) -> Batches:
    """Train and val batches of a phase, each phase in an order of its own."""
    plan = module.plan
    # Images are mixed, and given to a teacher, not activations.
    of_images = plan.mixup or plan.cutmix or plan.distill["teacher"] is not None
    batches = make_batches(
        context,
        module.model.backbone,
        module.phase,
        plan.batch_size,
        seed=mixed(context.seed, number) if number else context.seed,
        prefix=() if of_images else module.frozen_prefix,
        accumulate=plan.accumulate,
    )
    module.inputs_after = batches.stage
    return batches


def val_probabilities(module: FinetuneModule, val: Any, context: Context) -> Probabilities:
    """Probabilities of the module on val, from cached inputs if available."""
    if not isinstance(val, StoredInputs):
        return center_probabilities(module.model.eval(), context.data.val, context.extract)
    device, precision = run_place(context.settings)
    module.eval().to(device)
    found, outputs = [], module.model.target.outputs
    with torch.inference_mode(), autocast(precision, device):
        for start in range(0, len(val), module.plan.batch_size):
            inputs, _ = val.batch(range(start, min(start + module.plan.batch_size, len(val))))
            found.append(outputs(module.batch_logits(inputs.to(device))).cpu().numpy())
    module.cpu()
    return np.concatenate(found)


def _figures(module: FinetuneModule, outcome: PhaseOutcome, kept_epoch: int) -> dict[str, Any]:
    epochs = len(outcome.trained.history)
    return {
        "trained": scaled_rates(module),
        "epochs": epochs,
        "best_epoch": kept_epoch,
        "steps": epochs * outcome.steps_per_epoch,
        "trainable_parameters": module.trainable_parameters,
        "prefix": outcome.prefix,
    }


def _write(outcome: PhaseOutcome, folder: Path) -> None:
    """Store what is needed to skip the phase; its weights and history are in the checkpoint."""
    seen = {"steps_per_epoch": outcome.steps_per_epoch, "prefix": dict(outcome.prefix)}
    CheckpointFiles(folder).write({"phase": {"val": torch.from_numpy(outcome.val), **seen}})


def _read(trained: Trained, path: Path) -> PhaseOutcome:
    written = read_checkpoint(path)
    return PhaseOutcome(trained, written["val"].numpy(), written["steps_per_epoch"], written["prefix"])


def _state(module: FinetuneModule, stages: Collection[str]) -> dict[str, Tensor]:
    """A copy of the state dict of some stages, under the module's names."""
    own = {id(part) for name, part in module.named_stages.items() if name in stages}
    prefixes = tuple(f"{path}." for path, part in module.named_modules() if id(part) in own)
    return {name: value.clone() for name, value in module.state_dict().items() if name.startswith(prefixes)}
