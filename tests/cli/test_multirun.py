"""Several jobs of one command line: in a row and side by side, what they share, and how the whole ends."""

import json
import logging
import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.cli.test_job import wait_until
from tests.conftest import REPOSITORY, RunCommand
from tests.processes import PythonStarter
from transferkit.choices import SHARDS
from transferkit.cli.multirun import fit_beside_others, label_lines, refuse_several_devices
from transferkit.errors import TransferkitError
from transferkit.features.shard_file import read_shard
from transferkit.features.store_entries import list_entries
from transferkit.rundir import read_status


@pytest.mark.parametrize("devices", [1, "1", [3]])
def test_one_device_is_fine(devices: Any) -> None:
    settings = {"trainer": {"devices": devices}}
    refuse_several_devices(settings)  # raises for several
    assert settings == {"trainer": {"devices": devices}}


@pytest.mark.parametrize("devices", [2, "2", "auto", -1, [0, 1]])
def test_several_devices_are_refused(devices: Any) -> None:
    with pytest.raises(TransferkitError, match=r"trainer\.devices=.* without -m"):
        refuse_several_devices({"trainer": {"devices": devices}})


def hydra_config(target: str, **launcher: Any) -> Any:
    return OmegaConf.create({"launcher": {"_target_": target, **launcher}, "job": {"num": 4}})


def test_jobs_in_a_row_keep_the_whole_machine() -> None:
    settings = {"trainer": {"num_workers": "auto"}}
    fit_beside_others(settings, hydra_config("hydra._internal.core_plugins.basic_launcher.BasicLauncher"))
    fit_beside_others(settings, hydra_config("hydra_plugins.joblib", n_jobs=1))
    assert settings == {"trainer": {"num_workers": "auto"}}


def test_jobs_side_by_side_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setattr("transferkit.cli.multirun.count_cores", lambda: 8)
    monkeypatch.setattr("transferkit.cli.multirun.label_lines", lambda job: None)
    shares = []
    for n_jobs in (2, 5, -1):
        settings: dict[str, Any] = {"trainer": {"num_workers": "auto"}}
        fit_beside_others(settings, hydra_config("hydra_plugins.joblib", n_jobs=n_jobs))
        shares.append(settings["trainer"]["num_workers"])
    assert shares == [4, 0, 0]
    settings = {"trainer": {"num_workers": 3}}
    fit_beside_others(settings, hydra_config("hydra_plugins.joblib", n_jobs=2))
    assert settings == {"trainer": {"num_workers": 3}}


def test_lines_tell_their_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger()
    handler = logging.StreamHandler()
    monkeypatch.setattr(logger, "handlers", [handler])
    label_lines(7)
    logger.warning("one\ntwo")
    assert capsys.readouterr().err == "#7 | one\n#7 | two\n"


CONF = REPOSITORY / "conf"

needs_joblib = pytest.mark.skipif(
    find_spec("hydra_plugins") is None or find_spec("hydra_plugins.hydra_joblib_launcher") is None,
    reason="needs the extra: pip install 'transferkit[joblib]'",
)


def states(sweep: Path) -> dict[str, str]:
    return {path.parent.name[0]: json.loads(path.read_text())["status"] for path in sweep.glob("*/status.json")}


def rows_and_images(cache: Path) -> tuple[int, int]:
    """Rows in the files of a feature cache, over all entries, and how many different ones they are."""
    shards = [read_shard(entry.folder, shard) for entry in list_entries(cache) for shard in range(SHARDS)]
    return sum(shard.end for shard in shards), sum(len(shard.ids) for shard in shards)


@needs_joblib
@pytest.mark.slow
def test_jobs_side_by_side_compute_each_feature_once_and_failed_ones_do_not_stop_them(
    transferkit: RunCommand, tmp_path: Path
) -> None:
    done = transferkit(
        "-m",
        "backbone.weights=no_such_weights,resnet_glyphs",
        "strategy.probe.Cs=3,5",
        "trainer.num_workers=2",  # processes of a process of joblib
        *("dataset.fraction=0.2", "dataset.max_test=100", "selection=val"),
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweep.dir=sweep",
        "cache.dir=cache",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert states(tmp_path / "sweep") == {"0": "failed", "1": "failed", "2": "done", "3": "done"}
    assert "Traceback" not in done.stdout + done.stderr
    assert "2 of 4 jobs failed" in done.stderr
    rows, images = rows_and_images(tmp_path / "cache")
    assert rows == images > 0
    for job in ("2", "3"):
        assert f"#{job} | Backbone" in done.stdout
    assert "task=compare runs=sweep" in done.stdout


@needs_joblib
def test_sigterm_of_a_sweep_ends_every_job(python: PythonStarter, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    sweep = python.start(
        *("-m", "transferkit", "-m", "seed=0,1,2,3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
        *("hydra.sweep.dir=sweep", "cache.dir=cache"),
        cwd=tmp_path,
        merged=True,
    )
    wait_until(lambda: list(states(folder).values()).count("running") == 2, sweep)
    sweep.send_signal(signal.SIGTERM)
    printed, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 143, printed
    assert "Traceback" not in printed
    assert "hydra.sweep.dir=sweep resumes the jobs" in printed
    assert states(folder) == {"0": "failed", "1": "failed"}
    reasons = {read_status(path.parent)["reason"] for path in folder.glob("*/status.json")}
    assert reasons == {"terminated by SIGTERM"}
    deadline = time.monotonic() + 20
    while group_exists(sweep.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_exists(sweep.pid), "a process is left over"


def group_exists(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_failed_job_does_not_stop_the_batches_after_it(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit(
        "-m",
        "backbone.weights=no_such_weights,null",
        *("dataset.fraction=0.2", "selection=val"),
        "hydra.sweeper.max_batch_size=1",
        "hydra.sweep.dir=sweep",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert states(tmp_path / "sweep") == {"0": "failed", "1": "done"}
    summary = done.stderr[done.stderr.index("1 of 2 jobs failed") :]
    assert "no_such_weights" in summary
    assert "Traceback" not in done.stderr


def test_several_devices_are_refused_before_any_work(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit("-m", "trainer.devices=2", "seed=0,1", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert "2 of 2 jobs failed" in done.stderr
    assert done.stdout.count("trainer.devices=2 cannot be combined with a multirun") == 2
    assert not list(tmp_path.rglob("split.csv"))


def swept(*overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=True).hydra


def test_the_bakeoff_leaves_no_strategy_out() -> None:
    strategies = {path.stem for path in (CONF / "strategy").glob("*.yaml")}
    needing_an_extra = {"lora"}
    assert set(swept("experiment=bakeoff").sweeper.params.strategy.split(",")) == strategies - needing_an_extra


def test_the_learning_curve_varies_the_images() -> None:
    hydra = swept("experiment=learning_curve")
    assert hydra.mode.name == "MULTIRUN"
    assert hydra.sweeper.params["dataset.per_class"] == "5,10,20,50,null"


@pytest.mark.slow
def test_the_command_line_replaces_what_an_experiment_sweeps(transferkit: RunCommand, tmp_path: Path) -> None:
    done = transferkit(
        "experiment=learning_curve", "strategy=linear_probe", "dataset.per_class=5,10", "seed=3", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folders = sorted(path.parent.name for path in tmp_path.glob("multirun/learning_curve/*/*/metrics.json"))
    assert folders == [f"{i}_digits_narrow_resnet10_linear_probe_{n}_seed3" for i, n in enumerate((5, 10))]
