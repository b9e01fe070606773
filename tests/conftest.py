"""Shared by several test modules: an isolated home, the configuration, the command line, and one default run."""

import copy
import functools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from filelock import FileLock

from tests.processes import PythonStarter, python_starter
from transferkit.config.compose import load_strategy_settings

# Before torch is imported, here and in what the tests start: several test files run at once, a process each, and two
# threads beside another busy process wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent

RunCommand = Callable[..., subprocess.CompletedProcess[str]]


QUICK = ("trainer.num_workers=0", "trainer.device=cpu", "trainer.precision=fp32", "trainer.compile=false")
"""Overrides that make a small fit in this process quick and repeatable."""


def compose_settings(strategy: str = "linear_probe", *overrides: str) -> dict[str, Any]:
    """The real configuration for a strategy as plain containers, without the feature cache; a copy to change freely."""
    return copy.deepcopy(_composed(strategy, overrides))


@functools.cache
def _composed(strategy: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    return load_strategy_settings(strategy, [*QUICK, "cache.enabled=false", *overrides])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests, so that no process is left alone with one in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def isolated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep every cache of the suite, ours and those of torch and the hub, inside a temporary folder."""
    home = tmp_path_factory.mktemp("home")
    os.environ |= {
        "XDG_CACHE_HOME": str(home / "cache"),
        "TORCH_HOME": str(home / "torch"),
        "HF_HOME": str(home / "huggingface"),
    }
    return home


@pytest.fixture(scope="session")
def python(isolated_home: Path) -> Iterator[PythonStarter]:
    """Starts Python processes with torch already imported."""
    with python_starter() as starter:
        yield starter


@pytest.fixture(scope="session")
def transferkit(python: PythonStarter) -> RunCommand:
    """Return a function that runs `python -m transferkit ARGS` in a folder, as a user would."""

    def run(
        *arguments: str, cwd: Path, env: dict[str, str] | None = None, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return python.run("-m", "transferkit", *arguments, cwd=cwd, env=env, fresh=fresh)

    return run


class Run(NamedTuple):
    """A finished run of the command line."""

    folder: Path
    output: str
    imported: frozenset[str]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def default_run(transferkit: RunCommand, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The bare command in an interpreter of its own, once for all processes of the suite; and what it imported."""
    base = tmp_path_factory.getbasetemp()
    cwd = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "default_run"
    with FileLock(cwd.with_suffix(".lock")):
        if not (cwd / "done.json").is_file():
            cwd.mkdir(exist_ok=True)
            done = transferkit(cwd=cwd, env={"PYTHONPROFILEIMPORTTIME": "1"}, fresh=True)
            assert done.returncode == 0, done.stdout + done.stderr
            imported = sorted(set(re.findall(r"^import time: .*\| +([\w.]+)$", done.stderr, re.MULTILINE)))
            (cwd / "done.json").write_text(json.dumps({"output": done.stdout, "imported": imported}))
    told = json.loads((cwd / "done.json").read_text())
    (status,) = cwd.glob("runs/digits/*/linear_probe/*/status.json")
    return Run(status.parent, told["output"], frozenset(told["imported"]))
