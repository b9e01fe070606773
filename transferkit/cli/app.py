"""The Hydra application: the configuration is composed, then the task is imported and run; errors become one message.

Only Hydra is imported here, so that `--cfg job` and tab completion answer in a fraction of a second.
"""

import logging
import os
import sys
import traceback

import hydra
from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from transferkit.cli.commands import rewrite
from transferkit.cli.compose_once import compose_once
from transferkit.cli.failures import plain_reason
from transferkit.cli.screen import screen_text
from transferkit.config.compose import config_dir
from transferkit.config.explain import NOT_A_NAME, explain
from transferkit.errors import TransferkitError

KILLED = (
    "A process of the sweep was killed, perhaps because memory ran out, and with it all unfinished jobs. "
    "hydra.launcher.n_jobs=N runs fewer in parallel; the same command resumes from the features already computed."
)
KILLERS = ("BrokenProcessPool", "TerminatedWorkerError")
"""Errors of concurrent.futures and loky by name: importing them takes time at every start."""

FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")
def app(cfg: DictConfig) -> None:
    """Run the task of `cfg`."""
    from transferkit.cli.job import run_job

    run_job(cfg, FULL_ERROR)


def run() -> None:
    """Run the application; print one message, without a traceback, for errors that a user can fix."""
    compose_once()
    logging.raiseExceptions = False  # no traceback if the reader of the output has gone (`| head`)
    try:
        rewritten = rewrite(sys.argv[1:])
    except TransferkitError as error:
        sys.exit(screen_text(str(error), sys.stderr))
    # What is told later, such as the command of a run, is about these.
    sys.argv[1:] = rewritten.arguments
    for note in rewritten.notes:
        print(screen_text(note, sys.stderr), file=sys.stderr)
    if FULL_ERROR:
        app()
        return
    # Hydra prints its own traceback unless this is set; with it, the exception arrives here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        app()
    except (CompactHydraException, OmegaConfBaseException) as error:
        sys.exit(screen_text(explain(error), sys.stderr))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if str(error).startswith(NOT_A_NAME):
            sys.exit(screen_text(explain(error), sys.stderr))
        told = KILLED if type(error).__name__ in KILLERS else plain_reason(error)
        if told is not None:
            sys.exit(screen_text(told, sys.stderr))
        traceback.print_exc()
        sys.exit("This is a bug in transferkit, or a case it does not know: please report it with the lines above.")
