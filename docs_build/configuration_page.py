"""The keys of the configuration as Markdown: a table for each group and each kind of its choices."""

import re
from collections.abc import Sequence

from docs_build.configuration_keys import TITLES, Key, Section, sections
from transferkit.config.schema import BY_KEY

PLACE = "<!-- the keys of the configuration -->"
"""Where the tables stand in `docs/configuration.md`."""


def with_keys(markdown: str) -> str:
    """Return the page with the tables in their place."""
    return markdown.replace(PLACE, "\n".join(_lines(sections())))


def _lines(found: Sequence[Section]) -> list[str]:
    lines = list[str]()
    for section in found:
        group, _, kind = section.title.partition(": ")
        lines += [_heading(group, kind), "", _intro(section, group, kind), ""]
        lines += ['<div class="keys" markdown>', "", *_table(section.keys), "", "</div>", ""]
    return lines


def _heading(group: str, kind: str) -> str:
    if not kind:
        return f"## {group.capitalize() if ' ' in group else f'`{group}`'}"
    shown = kind.capitalize() if kind in TITLES.values() else f"`{kind}`"
    return f"### {shown} {{ #{group}-{re.sub(r'[^a-z0-9]+', '-', kind.lower())} }}"


def _intro(section: Section, group: str, kind: str) -> str:
    choices = ", ".join(f"`{name}`" for name in section.choices)
    if not kind:
        return f"Choices: {choices}." if choices else ""
    if not choices:
        return f"Without a file of its own: `{group}.{BY_KEY[group][0]}={kind}`."
    return "" if list(section.choices) == [kind] else f"Keys of {choices}."


def _table(keys: Sequence[Key]) -> list[str]:
    rows = [f"| `{key.name}` | {_cell(key.allowed)} | {_cell(key.default)} | {_cell(key.meaning)} |" for key in keys]
    return ["| key | values | default | meaning |", "|---|---|---|---|", *rows]


def _cell(text: str) -> str:
    """Escape what Markdown would read as markup, outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part.replace("|", "\\|") if i % 2 else re.sub(r"([\\*_<>\[\]{}|~])", r"\\\1", part)
        for i, part in enumerate(parts)
    )
