"""Log lines without terminal control characters, since they contain names from others' files."""

import logging

from transferkit.errors import shown_text


class EscapingFormatter(logging.Formatter):
    """Shows control characters, bidirectional marks and broken UTF-8 as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record, with its line breaks."""
        return escaped_lines(super().format(record))


def escaped_lines(text: str) -> str:
    """Return `text` with `shown_text` applied to each line; tabs are unchanged."""
    return "\n".join("\t".join(map(shown_text, line.split("\t"))) for line in text.split("\n"))
