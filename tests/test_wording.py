"""The form of the docs, and words that the project does not use."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

WIDTH = 100
DOCS = [
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "benchmarks").glob("*.md")),
]


def lines_to_wrap(page: Path) -> Iterator[tuple[int, str]]:
    """Lines outside tables, with their numbers; links count by their text alone. Code blocks count in docs/."""
    fenced, code_counts = False, page.parent.name == "docs"
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fenced ^= line.lstrip().startswith("```")
        code = fenced or line.startswith("    ")
        table = line.startswith("|") or (code and len(re.findall(r"\S {2,}(?=\S)", line)) > 2)
        if not table and (code_counts or not code):
            yield number, re.sub(r"\]\([^)]*\)", "]", line)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_docs_wrap_at_100_columns(page):
    assert [number for number, line in lines_to_wrap(page) if len(line) > WIDTH] == []


def test_internal_goals_stay_out_of_the_docs():
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert "| reached |" not in page.read_text(encoding="utf-8"), page


PRIVATE = (
    *("nothing was chosen on", "is taken for what", "lecture's table", "table of the lecture", "as the lecture"),
    *(
        "speaks for",
        "says little",
        "What leaves",
        "leaves the frozen stages",
        "leave the cache",
        "used least recently leave",
    ),
    *("of these right", "what was measured favours", "table says", "predict with it", "do it  ", "Run it again"),
    *("looked at once", "No test image was looked at", "at the machine's speed", "at the speed of the machine"),
    *("Can its confidence be believed", "What more images", "they are worth", "Class by class", "Left out, not done"),
    *("both quicker and better", "What was to be reached", "the same of two classes", "for want of", "Mend or remove"),
)
"""Phrases that once stood for the field's terms: held-out, confusion matrix, evidence for, activations, evicted, ..."""

SOURCES = [
    *DOCS,
    *sorted(path for path in (REPOSITORY / "conf").rglob("*") if path.suffix in (".yaml", ".txt")),
    *sorted(path for path in (REPOSITORY / "transferkit").rglob("*") if path.suffix in (".py", ".j2", ".css")),
    *sorted((REPOSITORY / "examples").glob("*.py")),
]


def test_the_fields_terms_are_used():
    found = [
        f"{path.relative_to(REPOSITORY)}: {phrase}"
        for path in SOURCES
        for text in [re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))]
        for phrase in PRIVATE
        if phrase.lower() in text.lower()
    ]
    assert found == []


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, of attributes and constants too, with their line numbers."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


@pytest.mark.parametrize("folder", ["transferkit", "benchmarks", "docs_build", "examples", "tests"])
def test_no_docstring_opens_with_what(folder):
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        for line, text in docstrings(path)
        if text.lstrip().startswith("What ")
    ]
    assert found == []
