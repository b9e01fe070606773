"""The form of the docs, and words that the project does not use."""

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


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Lines outside code blocks and tables, with their numbers; links count by their text alone."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and not line.startswith(("|", "    ")):
            yield number, re.sub(r"\]\([^)]*\)", "]", line)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_docs_wrap_at_100_columns(page):
    assert [number for number, line in prose(page) if len(line) > WIDTH] == []


def test_internal_goals_stay_out_of_the_docs():
    for page in (REPOSITORY / "docs").glob("*.md"):
        assert "| reached |" not in page.read_text(encoding="utf-8"), page
