"""Plain messages for command lines that Hydra cannot compose.

Imported at every start, so without heavy imports.
"""

import re
import sys
from collections.abc import Mapping, Sequence

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from transferkit.config.choice_files import choices
from transferkit.config.wording import flatten, no_such_choice, no_such_key

QUOTING = "A value with spaces, brackets or the like needs quotes inside quotes: 'images=\"my photos (1)\"'."
JOBLIB = "To run jobs in parallel: python -m pip install 'transferkit[joblib]'."
NOT_A_NAME = "Config group override must be a string"


def explain(error: Exception, arguments: Sequence[str] | None = None) -> str:
    """Return the message for a mistake on the command line, without Hydra's internals.

    Args:
        error: Raised by Hydra or OmegaConf.
        arguments: Of the command line; by default those of this process.
    """
    missing = re.search(r"Missing mandatory value: (\S+)", str(error))
    if missing:
        return f"A value is missing for {missing[1]}: give it on the command line, {missing[1]}=VALUE."
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and "/" in str(error.missing_cfg_file):
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        if not group.startswith("hydra"):
            return no_such_choice(group, name, choices(group))
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
        return _unknown_key(cause)
    if str(error).startswith(NOT_A_NAME):
        return _not_a_name(sys.argv[1:] if arguments is None else arguments)
    hint = f"\n{JOBLIB}" if "hydra/launcher/joblib" in str(error) else ""
    told = f"\n{cause}" if isinstance(cause, OmegaConfBaseException) else ""
    lines = f"{str(error).split('Config search path:')[0]}{told}{hint}".splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith(("full_key:", "object_type=")))


def _unreadable(error: OverrideParseException) -> str:
    word = str(error.override)
    if "=" not in word:
        return f"{word}: arguments have the form key=value; --help lists the keys."
    return f"{str(error).splitlines()[0]}\nCannot be read: {word}\n{QUOTING}"


def _unknown_key(cause: ConfigAttributeError | ConfigKeyError) -> str:
    assert isinstance(cause.parent_node, DictConfig)
    everything = OmegaConf.to_container(cause.parent_node._get_root(), resolve=False)
    assert isinstance(everything, Mapping)
    own = {str(key): value for key, value in everything.items() if key != "hydra"}
    siblings = [str(key) for key in cause.parent_node if key != "hydra"]
    return no_such_key(str(cause.full_key), siblings, list(flatten(own)))


def _not_a_name(arguments: Sequence[str]) -> str:
    """Say which group was set to null or a number."""
    for argument in arguments:
        group, _, value = argument.partition("=")
        if choices(group) and value not in choices(group):
            return no_such_choice(group, value, choices(group))
    return "A group of the configuration needs the name of a choice, such as backbone=resnet50."
