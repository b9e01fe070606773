"""Log lines without what a terminal would obey: names in them come from others' files."""

import logging

from transferkit.errors import shown_text


class EscapingFormatter(logging.Formatter):
    """Shows control characters, marks that turn the direction of writing and broken UTF-8 as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record; its line breaks stay."""
        return escaped_lines(super().format(record))


def escaped_lines(text: str) -> str:
    """Return `text` with each of its lines as `shown_text` gives it; tabs stay."""
    return "\n".join("\t".join(map(shown_text, line.split("\t"))) for line in text.split("\n"))
