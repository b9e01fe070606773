"""A wheel, an editable install and a plain clone all work from any directory."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from transferkit.backbones.packaged_weights import PACKAGES, VERSION


def built_wheel(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(REPOSITORY)],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def composed(code_folder: Path, cwd: Path) -> str:
    """Return what `--cfg job` prints with the package of `code_folder` first on the path, started from `cwd`."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "transferkit", "--cfg", "job", "dataset=flowers"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(code_folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_configuration_the_embedded_weights_and_the_page(tmp_path: Path) -> None:
    with zipfile.ZipFile(built_wheel(tmp_path)) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "installed")
    wanted = {f"transferkit/conf/{p.relative_to(REPOSITORY / 'conf')}" for p in (REPOSITORY / "conf").rglob("*.yaml")}
    assert wanted <= names
    assert {
        f"transferkit/embedded/{network}/{file}"
        for network in ("resnet_glyphs", "vgg_glyphs", "resnet_fractals")
        for file in ("model.json", "model.safetensors")
    } <= names
    assert {"transferkit/report/report.html.j2", "transferkit/py.typed"} <= names
    assert not any(name.startswith(("tests/", "conf/")) for name in names)
    (tmp_path / "elsewhere").mkdir()
    assert "name: flowers" in composed(tmp_path / "installed", tmp_path / "elsewhere")


def test_a_plain_clone_works_from_another_directory(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("transferkit", "conf"):
        shutil.copytree(REPOSITORY / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    (tmp_path / "elsewhere").mkdir()
    assert "name: flowers" in composed(clone, tmp_path / "elsewhere")


def test_an_editable_install_finds_the_configuration_of_the_checkout(tmp_path: Path) -> None:
    # An editable install is a path entry for the checkout.
    assert "name: flowers" in composed(REPOSITORY, tmp_path)


def test_every_dependency_names_its_lowest_version() -> None:
    # .ci/run installs the lowest versions allowed; without a floor that is the first release ever made. Packages of
    # weights are pinned, like the SHA-256 of their files.
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    floored = [r for r in asked if ">=" in r or r.startswith("transferkit[")]
    assert sorted(set(asked) - set(floored)) == sorted(f"{package}=={VERSION}" for package in PACKAGES)
