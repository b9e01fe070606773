"""What may be imported when, and by whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import transferkit
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "transferkit"

# From the bottom to the top: a module imports only from lines above its own.
LAYERS = [
    ["arrays", "cores", "errors", "mapped", "timing", "progress", "rundir"],
    ["stage", "artifact", "metrics", "settings", "logistic"],
    ["configuration"],
    ["cache_tools", "device", "preprocess", "data", "plan", "quadrant"],
    ["augment", "optim", "backbones", "cache", "probe", "neighbors", "quadrant_cases"],
    ["described"],
    ["frozen", "rows", "loading"],
    ["inference", "pixels", "model"],
    ["features"],
    ["extraction", "result", "results", "training"],
    ["evaluate", "report", "probe_module", "finetune"],
    ["advisor", "compare"],
    ["strategies"],
    ["tasks"],
    ["job"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def top_name(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_names(path: Path) -> set[str]:
    """Return the first component below `transferkit` of every import, at module level or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("transferkit."):
            names.add(node.module.split(".")[1])
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("transferkit.")}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward(path: Path) -> None:
    own = top_name(path)
    assert own in LEVEL, f"{own} has no place in LAYERS"
    upward = {name for name in imported_names(path) - {own} if LEVEL[name] >= LEVEL[own]}
    assert not upward, f"{own} imports {upward}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [n.name for n in functions if (n.end_lineno or 0) - n.lineno + 1 > 60]
    assert not long


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"numpy", "torch", "torchvision", "timm", "sklearn", "pytorch_lightning", "matplotlib", "PIL"}


def test_import_loads_nothing_heavy() -> None:
    assert not loaded_after("import transferkit") & HEAVY


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["--hydra-help"]], ids=lambda flags: flags[0])
def test_looking_around_loads_nothing_heavy(flags: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['transferkit', *{flags!r}]\n"
        "from transferkit.__main__ import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code"
    )
    assert not loaded_after(code) & HEAVY


@pytest.mark.slow
def test_the_default_fit_loads_only_what_it_needs(tmp_path: Path) -> None:
    """Lightning, timm and the advisor take as long to import as the whole fit does."""
    code = (
        f"import sys; sys.argv = ['transferkit', 'hydra.run.dir={tmp_path}', 'cache.enabled=false']\n"
        "from transferkit.__main__ import main\n"
        "main()"
    )
    loaded = loaded_after(code)
    assert not loaded & {"pytorch_lightning", "lightning_fabric", "torchmetrics", "timm"}
    assert {"torch", "sklearn"} <= loaded


def test_every_public_name_exists_and_is_documented() -> None:
    assert set(transferkit._HOMES) == set(transferkit.__all__)
    for name in transferkit.__all__:
        assert getattr(transferkit, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = transferkit.no_such_name
