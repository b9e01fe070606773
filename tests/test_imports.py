"""The order of imports between packages, and which imports are deferred."""

import ast
import functools
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import transferkit
from tests.conftest import REPOSITORY, Run

PACKAGE = REPOSITORY / "transferkit"

MODULES = [
    "errors",
    "extras",
    "choices",
    "cores",
    "arrays",
    "timing",
    "files",
    "rundir",
    "progress",
    "metrics",
    "ranking",
    "label_folds",
    "folds",
    "device",
    "untrusted",
    "plain_yaml",
    "tensor_header",
    "artifact_schema",
    "artifact",
    "ensemble_artifact",
]
PACKAGES = [
    *("config", "targets", "data", "backbones", "features", "probes", "models", "training", "report", "advisor"),
    *("compare", "inspection", "strategies", "quality", "export", "demo", "cli"),
]
ORDER = [*MODULES, *PACKAGES, "__main__"]
"""From the bottom up: a module or package imports only what stands before it."""


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted name below `transferkit` to file, without the package's own `__init__`, which names all public homes."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """The modules below `transferkit` that a file imports: at any level, by any form, or by name in a string."""
    found = set[str]()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} if re.fullmatch(r"transferkit(\.\w+)+", node.value) else set()
    named = {name.removeprefix("transferkit.") for name in found if name.startswith("transferkit.")}
    return frozenset(named & set(modules()))


def top(module: str) -> str:
    return module.split(".")[0]


def test_every_module_and_package_has_its_place() -> None:
    assert {top(name) for name in modules()} == set(ORDER)


@pytest.mark.parametrize(("name", "path"), modules().items(), ids=modules())
def test_imports_go_downward(name: str, path: Path) -> None:
    upward = {other for other in imported(path) if ORDER.index(top(other)) > ORDER.index(top(name))}
    assert not upward, f"{name} imports {upward}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: imported(path) - {name} for name, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_every_package_says_what_is_in_it_and_what_it_may_import() -> None:
    for name in PACKAGES:
        text = ast.get_docstring(parsed(PACKAGE / name / "__init__.py"))
        assert text is not None, name
        assert "May import:" in text, name


def test_no_two_modules_have_the_same_name() -> None:
    names = [path.stem for path in modules().values() if path.stem != "__init__"]
    assert sorted(names) == sorted(set(names))


MORE_PARAMETERS = {
    "backbones.create.create_backbone": 9,
    "features.extract.extract_features": 13,
    "features.activations.store_rows": 9,
    "probes.linear.__init__": 8,
    "training.loaders.__init__": 9,
    "training.probe_module.__init__": 10,
}
"""Public functions with a keyword for each option, and the constructors of estimators and modules."""


@pytest.mark.parametrize(("name", "path"), modules().items(), ids=modules())
def test_files_classes_and_functions_stay_small(name: str, path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= 350
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            limit = 150 if isinstance(node, ast.ClassDef) else 60
            assert (node.end_lineno or 0) - node.lineno + 1 <= limit, node.name
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            assert count <= MORE_PARAMETERS.get(f"{name}.{node.name}", 7), node.name


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


def test_the_default_fit_loads_only_what_it_needs(default_run: Run) -> None:
    """Lightning, timm and the advisor take as long to import as the whole fit does."""
    loaded = {name.split(".")[0] for name in default_run.imported}
    assert not loaded & {"pytorch_lightning", "lightning_fabric", "torchmetrics", "timm"}
    assert not {name for name in default_run.imported if name.startswith("transferkit.advisor")}
    assert {"torch", "sklearn"} <= loaded


def test_every_public_name_exists_and_is_documented() -> None:
    assert set(transferkit._HOMES) == set(transferkit.__all__)
    for name in transferkit.__all__:
        assert getattr(transferkit, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = transferkit.no_such_name
