"""From records to Markdown, and into the page of the docs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.speed.results import Record

TITLES = {
    "goals": "What was to be reached",
    "rivals": "The same images, the same network, equal epochs",
    "scale": "More images",
    "commands": "Whole commands, each a process of its own",
    "limits": "The machine's limit",
}
BEGIN, END = "<!-- written by: python -m benchmarks.speed -->", "<!-- end of what is written -->"


def markdown(about: Mapping[str, str], records: Sequence[Record]) -> str:
    """The tables, after what describes the machine and the command."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in about.items())]
    for name, title in TITLES.items():
        rows = [record["cells"] for record in records if record["table"] == name]
        if rows:
            parts.append(f"### {title}\n\n{_table(rows)}")
    return "\n\n".join(parts)


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    columns = [
        column for column in dict.fromkeys(c for row in rows for c in row) if any(row.get(column) for row in rows)
    ]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(row.get(column, '')) for column in columns)} |" for row in rows]
    return "\n".join(lines)


def replace_in(page: Path, text: str) -> None:
    """Put the tables between the markers of a page.

    Raises:
        ValueError: It has no markers.
    """
    before, found, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
