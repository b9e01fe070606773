"""The command line: Hydra composes the configuration, then the task is imported and run.

Only Hydra is imported here, so that `--help`, `--cfg job` and tab completion answer in a fraction of a second.
"""

import logging
import os
import re
import sys
import traceback
from concurrent.futures.process import BrokenProcessPool

import hydra
from hydra.errors import CompactHydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from transferkit.cli.failures import plain_reason
from transferkit.cli.log_lines import escaped_lines
from transferkit.config.compose import config_dir

QUOTING = "A value with spaces, brackets or the like needs quotes inside quotes: 'images=\"my photos (1)\"'."
JOBLIB = "To run jobs in parallel: python -m pip install 'transferkit[joblib]'."
KILLED = (
    "A process of the sweep was killed, perhaps because memory ran out, and with it all unfinished jobs. "
    "hydra.launcher.n_jobs=N runs fewer in parallel; the same command resumes from the features already computed."
)
FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")
def app(cfg: DictConfig) -> None:
    """Run the task that `cfg` describes."""
    from transferkit.cli.job import run_job

    run_job(cfg, FULL_ERROR)


def explain(error: Exception) -> str:
    """Return Hydra's message for a mistake in the configuration, without its internals."""
    missing = re.search(r"Missing mandatory value: (\S+)", str(error))
    if missing:
        return f"A value is missing for {missing[1]}: give it on the command line, {missing[1]}=VALUE."
    if isinstance(error, OverrideParseException):
        return f"{str(error).splitlines()[0]}\nCannot be read: {error.override}\n{QUOTING}"
    cause = f"\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    hint = f"\n{JOBLIB}" if "hydra/launcher/joblib" in str(error) else ""
    lines = f"{error}{cause}{hint}".splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith(("full_key:", "object_type=")))


def main() -> None:
    """Run the application; print one message, without a traceback, for errors that a user can fix."""
    logging.raiseExceptions = False  # no traceback if the reader of the output has gone (`| head`)
    if FULL_ERROR:
        app()
        return
    # Hydra prints its own traceback unless this is set; with it, the exception arrives here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        app()
    except (CompactHydraException, OmegaConfBaseException) as error:
        sys.exit(escaped_lines(explain(error)))
    except BrokenProcessPool:
        sys.exit(KILLED)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        told = plain_reason(error)
        if told is not None:
            sys.exit(escaped_lines(told))
        traceback.print_exc()
        sys.exit("This is a bug in transferkit, or a case it does not know: please report it with the lines above.")


if __name__ == "__main__":
    main()
