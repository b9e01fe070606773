"""Weights of a network cut into stages, under the names that the original network gives them."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from transferkit.errors import TransferkitError

logger = logging.getLogger(__name__)

_COUNTER = ".num_batches_tracked"
_LISTED = 8  # keys of each kind in the message about weights that do not fit


def original_name(name: str) -> str:
    """The original network's name of a parameter: without "stages.<stage>." and the parts of a `PooledStage`."""
    original = name.split(".", 2)[2]
    return original.removeprefix("body.").removeprefix("native_pool.")


def load_original(staged: nn.Module, state: Mapping[str, Tensor], origin: str, network: str) -> list[str]:
    """Load weights under the original network's names, as `Backbone.load_original_state_dict` says.

    Args:
        staged: The network, whose parameters are called "stages.<stage>.<original name>".
        state: Original name to tensor.
        origin: Where the weights come from, for messages.
        network: Its name, for messages.

    Returns:
        The names of the head's weights that were skipped.

    Raises:
        TransferkitError: If names are missing or unknown or shapes differ; it lists them, and nothing is loaded.
    """
    own = staged.state_dict()
    names = {original_name(name): name for name in own}
    differing = [name for name, mine in names.items() if name in state and state[name].shape != own[mine].shape]
    left_out = [name for name in differing if _only_classes_differ(names[name], state[name], own[names[name]])]
    problems = {
        # Batch counters came with torch 0.4.1; older files lack them, and no result depends on them.
        "missing": [name for name in names if name not in state and not name.endswith(_COUNTER)],
        "unknown": [name for name in state if name not in names],
        "of another shape": [
            f"{name} {list(state[name].shape)} instead of {list(own[names[name]].shape)}"
            for name in differing
            if name not in left_out
        ],
    }
    if any(problems.values()):
        raise TransferkitError(_mismatch(origin, network, problems))
    staged.load_state_dict({names[name]: state[name] for name in state if name not in left_out}, strict=False)
    if left_out:
        logger.warning("%s: skipped head weights for another number of classes: %s", origin, ", ".join(left_out))
    for owner in {names[name].rpartition(".")[0] for name in left_out}:
        staged.get_submodule(owner).reset_parameters()  # type: ignore[operator]
    return left_out


def _only_classes_differ(name: str, given: Tensor, own: Tensor) -> bool:
    """Whether a weight of the head is for another number of classes."""
    return name.startswith("stages.head.") and given.shape[1:] == own.shape[1:]


def _mismatch(origin: str, network: str, problems: Mapping[str, list[str]]) -> str:
    message = f"{origin}: these weights are not for {network}."
    for kind, keys in problems.items():
        if keys:
            keys = sorted(keys, key=lambda key: key.endswith(_COUNTER))  # the informative names first
            more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
            message += f" {len(keys)} {kind}: {', '.join(keys[:_LISTED])}{more}."
    return message
