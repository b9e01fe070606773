"""The page of the API has every public name, and the navigation every page."""

import re

import transferkit
from tests.conftest import REPOSITORY


def test_every_public_name_is_on_the_page() -> None:
    page = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    homes = {f"{getattr(transferkit, name).__module__}.{name}" for name in transferkit.__all__}
    assert homes <= set(shown)


def test_every_page_is_in_the_navigation() -> None:
    pages = re.findall(r"^ +- .+: (\w+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(pages) == sorted(page.name for page in (REPOSITORY / "docs").glob("*.md"))
