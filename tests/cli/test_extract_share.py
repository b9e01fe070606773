"""extract.shard=i/n: n jobs compute the features between them, then the same command without it goes on."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import RunCommand

GIVEN = ("cache.dir=cache", "dataset.per_class=6", "dataset.max_test=20")


@pytest.mark.slow
def test_two_shares_and_then_the_run(transferkit: RunCommand, tmp_path: Path) -> None:
    computed = 0
    for i in (1, 2):
        run = transferkit(*GIVEN, f"extract.shard={i}/2", f"hydra.run.dir=share{i}", cwd=tmp_path)
        assert run.returncode == 0, run.stdout + run.stderr
        assert json.loads((tmp_path / f"share{i}" / "status.json").read_text())["status"] == "done"
        assert not (tmp_path / f"share{i}" / "metrics.json").exists()
        computed += sum(map(int, re.findall(r"(\d+) computed now", run.stdout)))
        assert ("still to be computed" in run.stdout) == (i == 1)
    assert "All shares are complete" in run.stdout
    run = transferkit(*GIVEN, "hydra.run.dir=run", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [line for line in run.stdout.splitlines() if "from the cache" in line]
    assert lines
    assert all(", 0 computed" in line for line in lines)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["n"] == 20
    assert computed > 60
