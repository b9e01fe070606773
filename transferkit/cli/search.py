"""task=search: strategy, rates and augmentation by Optuna; every trial is a fit, judged by its metrics on val.

Hydra's own plugin for Optuna needs optuna<3 (hydra-optuna-sweeper 1.3.0), so the trials are composed here.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from transferkit.cli import fit
from transferkit.cli.job_record import named_choices, resolve, run_recorded
from transferkit.config.compose import load_strategy_settings, own_hydra
from transferkit.config.explain import explain
from transferkit.config.schema import check_config
from transferkit.config.shortcuts import NAMES
from transferkit.config.wording import show
from transferkit.errors import TransferkitError
from transferkit.extras import import_extra
from transferkit.files import write_csv, write_json, write_text
from transferkit.ranking import score
from transferkit.report.command_text import command_of, without
from transferkit.report.run_files import shown_path
from transferkit.rundir import Status, is_gone, one_job, read_status

log = logging.getLogger(__name__)

NOT_FIXED = ("task", "experiment", "hydra")
"""Groups of the search's arguments that its trials do not get; nor do they get `strategy=`."""

SHORTCUTS = tuple(f"{name}=" for name in NAMES)

SHOWN = 10


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Search, and write search.csv and search.json; the run directory of each trial is below `trials/`.

    Raises:
        TransferkitError: optuna is not installed, a strategy is unknown, or no trial could be fitted.
    """
    optuna, task = import_optuna(), settings["task"]
    fixed = [one for one in without(settings["overrides"], "strategy=") if named_choices([one])[0] not in NOT_FIXED]
    known = {one.lstrip("+~").split("=")[0] for one in settings["overrides"]}
    strategies = [settings["strategy"]["name"]] if "strategy" in known else task["strategies"]
    space = {key: choices for key, choices in task["space"].items() if key not in known}
    finetuned = {name for name in strategies if "phases" in load_strategy_settings(name)["strategy"]}
    what = {"fixed": sorted(fixed), "strategies": strategies, "space": space, "seed": settings["seed"]}
    study = open_study(optuna, Path(task["storage"] or run_dir / "search.journal").expanduser(), what)
    retry_interrupted(study)
    there = study.get_trials()
    again = {trial.user_attrs.get("retry_of") for trial in there}
    ended = [trial for trial in there if trial.state.is_finished() and trial.number not in again]
    log.info("Search %s: %d of %d trials are done.", study.study_name, len(ended), task["trials"])
    for _ in range(task["trials"] - len(ended)):
        trial = study.ask()
        overrides = suggest(trial, strategies, space if finetuned else {}, finetuned)
        folder = Path(trial.user_attrs.get("folder") or (run_dir / "trials" / str(trial.number)).resolve())
        trial.set_user_attr("folder", str(folder))
        # A strategy that does not train in epochs has no `epochs` and no `lr`.
        shared = fixed if overrides[0].removeprefix("strategy=") in finetuned else without(fixed, *SHORTCUTS)
        trial.set_user_attr("overrides", overrides)
        trial.set_user_attr("arguments", [*shared, *overrides])
        log.info("\nTrial %d of %d: %s", trial.number + 1, task["trials"], " ".join(overrides))
        try:
            metrics = run_trial([*shared, *overrides], folder)
        except TransferkitError as error:
            log.error("Trial %d failed: %s", trial.number + 1, error)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        val = metrics["val"]
        trial.set_user_attr("val", {"top1": val["top1"], "nll": val["nll"], "n": val["n"]})
        trial.set_user_attr("seconds", metrics["seconds"]["total"])
        study.tell(trial, score(val["top1"], val["nll"], val["n"]))
    report(study, run_dir)


def import_optuna() -> Any:
    """Return the module optuna, which logs nothing but warnings.

    Raises:
        TransferkitError: It is not installed.
    """
    (optuna,) = import_extra("task=search needs optuna", "optuna", "optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(optuna: Any, journal: Path, what: Mapping[str, Any]) -> Any:
    """Return the study of a search in a journal file, a new one or that of an earlier run.

    Args:
        optuna: The module.
        journal: The file; it may hold several searches.
        what: Everything that determines a result: a search of other settings is another study.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal.parent.mkdir(parents=True, exist_ok=True)
    name = blake2b(json.dumps(what, sort_keys=True, default=str).encode(), digest_size=4).hexdigest()
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    # A search that goes on must not draw the same numbers again.
    study.sampler = optuna.samplers.TPESampler(seed=what["seed"] + len(study.get_trials(deepcopy=False)))
    if not study.get_trials(deepcopy=False):
        for strategy in what["strategies"]:
            study.enqueue_trial({"strategy": strategy})  # each once, before any is preferred
    return study


def retry_interrupted(study: Any) -> None:
    """Try the trials again whose process has ended: in their folders, where a training resumes."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        folder = trial.user_attrs.get("folder")
        status = read_status(Path(folder)) if folder else {}
        if not status or status.get("status") != Status.RUNNING or is_gone(status):
            study.tell(trial.number, state=TrialState.FAIL)
            place = {"folder": folder} if folder else {}
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number, **place})


def suggest(
    trial: Any, strategies: Sequence[str], space: Mapping[str, Any], finetuned: Sequence[str] | set[str]
) -> list[str]:
    """Return the overrides of a trial: a strategy and, if it finetunes, a value of every key of the space."""
    strategy = trial.suggest_categorical("strategy", list(strategies))
    overrides = [f"strategy={strategy}"]
    for key, choices in space.items() if strategy in finetuned else ():
        if isinstance(choices, Mapping):
            value = trial.suggest_float(key, choices["low"], choices["high"], log=choices["log"])
            overrides.append(f"{key}={value:.6g}")
        else:
            overrides.append(f"{key}={show(trial.suggest_categorical(key, list(choices)))}")
    return overrides


def run_trial(overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    """Fit with these overrides in a run directory of its own, like task=fit, and return its metrics.

    Raises:
        TransferkitError: The overrides, or the data, cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with one_job(folder), arguments(overrides):
        run_recorded(folder, lambda: _fit_composed(overrides, folder))
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def _fit_composed(overrides: Sequence[str], folder: Path) -> None:
    try:
        with own_hydra():
            cfg = compose("config", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise TransferkitError(explain(error, overrides)) from error
    write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(cfg))
    settings = check_config(resolve(cfg))
    settings |= {"overrides": list(overrides), "choices": named_choices(list(overrides))}
    fit.main(settings, folder)


@contextmanager
def arguments(words: Sequence[str]) -> Iterator[None]:
    """Within the block these are the arguments of the process, from which pages and messages make commands."""
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before


def report(study: Any, run_dir: Path) -> None:
    """Write the tables, and tell the best trial on val with its command.

    Raises:
        TransferkitError: No trial is complete.
    """
    from optuna.trial import TrialState

    done = sorted(study.get_trials(states=(TrialState.COMPLETE,)), key=lambda trial: -trial.value)
    if not done:
        raise TransferkitError("No trial of the search could be fitted; the reasons are above.")
    rows = [row(trial) for trial in done]
    write_csv(run_dir / "search.csv", list(rows[0]), [list(one.values()) for one in rows])
    best = done[0]
    command = command_of("task=fit", *best.user_attrs["arguments"])
    write_json(
        run_dir / "search.json", {"study": study.study_name, "trials": rows, "best": {**rows[0], "command": command}}
    )
    lines = [f"  {'trial':>5}  {'val top-1':>9}  {'seconds':>7}  settings"]
    for one in rows[:SHOWN]:
        lines.append(f"  {one['trial']:>5}  {100 * one['val_top1']:>7.2f} %  {one['seconds']:>7.1f}  {one['settings']}")
    lines += ["  ..."] if len(rows) > SHOWN else []
    shown = shown_path(Path(best.user_attrs["folder"]))
    told = f"Best on val: {rows[0]['settings']}, {100 * rows[0]['val_top1']:.2f} % (test was not looked at to choose)"
    lines += ["", told, f"  run directory       {shown}", f"  repeat              {command}"]
    lines += [f"  compare             {command_of('task=compare', f'runs={shown.parent}')}"]
    log.info("\n%s", "\n".join(lines), extra={"result": "Best on val"})


def row(trial: Any) -> dict[str, Any]:
    """Return the row of a finished trial in search.csv."""
    attributes = trial.user_attrs
    return {
        "trial": trial.number + 1,
        "val_top1": attributes["val"]["top1"],
        "val_nll": attributes["val"]["nll"],
        "seconds": attributes["seconds"],
        "settings": " ".join(attributes["overrides"]),
        "folder": attributes["folder"],
    }
