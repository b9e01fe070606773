import logging
from typing import Any

import pytest
from omegaconf import OmegaConf

from transferkit.cli.multirun import fit_beside_others, label_lines, refuse_several_devices
from transferkit.errors import TransferkitError


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
