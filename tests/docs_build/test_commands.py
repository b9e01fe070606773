"""The commands of the pages for beginners compose, and the configuration that they give is valid."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tests.conftest import REPOSITORY
from transferkit.cli.commands import rewrite
from transferkit.config.schema import check_config

PAGES = [REPOSITORY / "README.md", *(REPOSITORY / f"docs/{name}.md" for name in ("how_to", "index", "strategies"))]
FOLDERS = ("photos", "more_photos", "RUN_DIR", "multirun", "checked")
TABLES = ("photos.csv", "RUN_DIR/split.csv")
COMMAND = re.compile(r"^ *(?:python -m )?transferkit\b(.*)$", re.MULTILINE)


def commands(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    code = re.findall(r"^```bash\n(.*?)^```|((?:^    .*\n)+)", text, re.MULTILINE | re.DOTALL)
    found = [match.strip() for block in code for match in COMMAND.findall("".join(block))]
    return [command for command in dict.fromkeys(found) if "--" not in command]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_valid(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    for name in TABLES:
        (tmp_path / name).write_text("path,label\n")
    monkeypatch.chdir(tmp_path)
    found = commands(page)
    assert len(found) >= (1 if page.name in ("index.md", "strategies.md") else 10)
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        for command in found:
            words = [word for word in shlex.split(command, comments=True) if word != "-m"]
            words = [word.replace("latest", "RUN_DIR") for word in words]
            given = OverridesParser.create().parse_overrides(rewrite(words).arguments)
            first = [
                f"{one.get_key_element()}={next(iter(one.sweep_string_iterator()))}"
                if one.is_sweep_override()
                else one.input_line
                for one in given
            ]
            settings = OmegaConf.to_container(compose("config", overrides=[str(one) for one in first]), resolve=False)
            assert isinstance(settings, dict), command
            check_config({str(key): value for key, value in settings.items()})
