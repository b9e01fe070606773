"""Hooks of mkdocs: the tables of the configuration, and commands that a phone can wrap.

Named in mkdocs.yml; https://www.mkdocs.org/user-guide/configuration/#hooks
"""

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # mkdocs loads this file by its path

from docs_build.configuration_page import PLACE, with_keys

COMMANDS = re.compile(r"(?<=\n\n)(?: {4}(?:transferkit|python|eval)\b.*\n)(?: {4}.*\n)*")
"""A block of code by its indentation that begins with a command."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables of keys in their place, and mark blocks of commands as such: only these may be wrapped."""
    marked = COMMANDS.sub(lambda found: f"```bash\n{re.sub('^    ', '', found[0], flags=re.MULTILINE)}```\n", markdown)
    return with_keys(marked) if PLACE in marked else marked
