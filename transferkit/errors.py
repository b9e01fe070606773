"""The exception for errors that a user can cause and fix."""

import difflib
from collections.abc import Sequence

_LIMIT = 20  # items of a list in a message


class TransferkitError(ValueError):
    """A mistake in the input, with one message: what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with status 1. A `ValueError`, so that
    library users may catch it as such.
    """


class WeightsUnavailable(TransferkitError):
    """Weights that are neither on this machine nor can be downloaded."""


def unknown_name(where: str, given: str, valid: Sequence[str], kind: str) -> str:
    """One sentence for a misspelt name: the close matches if there are any, else all valid names."""
    close = difflib.get_close_matches(given, valid, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    listed = f" Valid: {', '.join(valid)}." if len(valid) <= 30 else ""
    return f"{where}: there is no {kind} {given!r}.{hint}{listed}"


def worker_died(error: BaseException) -> str | None:
    """Return a remedy if `error` reports that a process of a DataLoader was killed; else None."""
    text = str(error).strip()
    if not isinstance(error, RuntimeError) or not text.startswith("DataLoader worker"):
        return None
    return (
        f"A process that loads images died ({text.splitlines()[0].rstrip('. ')}), perhaps because memory or "
        "shared memory (/dev/shm) ran out: trainer.num_workers=0 uses no such processes, a smaller number fewer."
    )


def shown_text(text: str) -> str:
    """Return `text` with control and invisible characters as Python escapes, for the terminal.

    Names come from others' files. Letters of every script are unchanged; line breaks, control characters, bidirectional
    marks, and bytes that are not UTF-8 become escapes.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(items: Sequence[str]) -> str:
    """Join the first items of a list with commas, and add the number of further ones."""
    return ", ".join(map(shown_text, items[:_LIMIT])) + _more(items)


def listed(items: Sequence[str]) -> str:
    """Write the first items of a list on lines of their own, and add the number of further ones."""
    lines = "".join(f"\n  {shown_text(item)}" for item in items[:_LIMIT])
    return lines + ("\n " if _more(items) else "") + _more(items)


def _more(items: Sequence[str]) -> str:
    return f" and {len(items) - _LIMIT} more" if len(items) > _LIMIT else ""
