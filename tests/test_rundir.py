"""A run directory: one job at a time, a status that is right however the job ends, nothing left over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from transferkit import rundir
from transferkit.errors import TransferkitError
from transferkit.files import new_file
from transferkit.rundir import Status, Terminated, check_done, one_job, read_status, sigterm_raises, write_status

HOLDER = """
import sys, time
from pathlib import Path
from transferkit.files import new_file
from transferkit.rundir import Status, one_job, write_status
run_dir = Path(sys.argv[1])
with one_job(run_dir), new_file(run_dir / "model.json") as temporary:
    write_status(run_dir, Status.RUNNING)
    temporary.write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process at work in `tmp_path`, in the middle of writing a file."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_job_is_told_who_the_first_is(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    told = rf"Another job is running in .*: process {holder.pid} on .*hydra\.run\.dir"
    with pytest.raises(TransferkitError, match=told), one_job(tmp_path):
        pass
    assert read_status(tmp_path)["pid"] == holder.pid


def test_the_lock_of_a_killed_job_does_not_block_and_its_half_file_goes(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.kill()
    holder.wait()
    half = [path for path in tmp_path.iterdir() if path.name.endswith("-tmp")]
    assert half
    users = [tmp_path / name for name in ("notes.tmp", ".model.json.transferkit-tmp", ".a.0123.transferkit-tmp")]
    for path in users:
        path.write_text("mine")
    with one_job(tmp_path):
        assert not half[0].exists()
    assert all(path.is_file() for path in users), "names that are not certainly ours stay"


def test_a_lock_that_lives_on_in_a_dead_jobs_child_is_waited_for(tmp_path: Path) -> None:
    code = HOLDER.replace("time.sleep(60)", "os.fork() or time.sleep(2); os._exit(0)").replace(
        "import sys", "import os, sys"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    parent.wait()
    with one_job(tmp_path):
        pass


def test_a_full_disk_leaves_the_reason_in_the_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_status(tmp_path, Status.RUNNING)
    inode = (tmp_path / "status.json").stat().st_ino

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        write_status(tmp_path, Status.DONE)
    write_status(tmp_path, Status.FAILED, "No space left on device\n" + 5000 * "ä")
    content = json.loads((tmp_path / "status.json").read_text())
    assert content["status"] == "failed"
    assert content["reason"].startswith("No space left on device")
    assert (tmp_path / "status.json").stat().st_ino == inode
    assert (tmp_path / "status.json").stat().st_size <= 4096


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"status": "running"}', "still running, or was killed"),
        ('{"status": "failed", "reason": "no such weights\\nmore"}', r"failed \(no such weights\)"),
        ('{"status": ["done"]}', "damaged"),
        ("{", "damaged"),
        (100_000 * "[", "damaged"),
    ],
)
def test_only_what_is_done_may_be_used(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "status.json").write_text(content)
    with pytest.raises(TransferkitError, match=told):
        check_done(tmp_path)


def test_done_and_plain_artifacts_may_be_used(tmp_path: Path) -> None:
    check_done(tmp_path)
    write_status(tmp_path, Status.DONE)
    check_done(tmp_path)


def wait_for_sigterm() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def test_sigterm_raises_here_and_ends_children_as_ever() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as ended, sigterm_raises():
        wait_for_sigterm()
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_two_writers_share_a_temporary_name(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as one, new_file(tmp_path / "a") as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / "a").read_text() == "1", "the one that ended last"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
