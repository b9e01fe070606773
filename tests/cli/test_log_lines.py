"""Names of others in the log."""

import logging
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from transferkit.cli.log_lines import EscapingFormatter
from transferkit.config.compose import config_dir


def test_names_cannot_command_the_terminal():
    record = logging.LogRecord("t", logging.INFO, "f", 1, "read %s:\n\tdone", ("a\x1b[2J\x07b\u202ec\udcff\r",), None)
    assert EscapingFormatter("%(message)s").format(record) == "read a\\x1b[2J\\x07b\\u202ec\\udcff\\r:\n\tdone"


@pytest.mark.parametrize("stream", ["console", "file"])
def test_the_applications_log_is_escaped(stream, tmp_path, capsys, monkeypatch):
    # Logging is configured anew by closing every handler there is; that of absl, which TensorBoard imports, would close
    # pytest's own capture of standard error.
    monkeypatch.setattr(logging, "_handlerList", [])
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        hydra = compose("config", overrides=[f"hydra.run.dir={tmp_path}"], return_hydra_config=True).hydra
    settings: Any = OmegaConf.to_container(hydra.job_logging, resolve=False)
    settings["handlers"]["file"]["filename"] = str(tmp_path / "log")
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_log(OmegaConf.create(settings))
        logging.getLogger("transferkit.test").info("class %s", "\x1b[31mred\udcff")
    finally:
        for handler in root.handlers[:]:
            handler.close()
        root.handlers[:], root.level = before, level
    written = capsys.readouterr().out if stream == "console" else (tmp_path / "log").read_text()
    assert written.endswith("class \\x1b[31mred\\udcff\n")
