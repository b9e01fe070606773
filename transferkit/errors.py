"""The one exception for what a user can cause and mend."""

import difflib
from collections.abc import Sequence


class TransferkitError(ValueError):
    """A mistake in the input, told in one message: what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with status 1. A `ValueError`, so that
    library users may catch it as such.
    """


def unknown_name(where: str, given: str, valid: Sequence[str], kind: str) -> str:
    """One sentence for a misspelt name: the close matches if there are any, else all valid names."""
    close = difflib.get_close_matches(given, valid, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    listed = f" Valid: {', '.join(valid)}." if len(valid) <= 30 else ""
    return f"{where}: there is no {kind} {given!r}.{hint}{listed}"
