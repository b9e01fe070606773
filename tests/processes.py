"""Python processes for tests, without the seconds that importing torch takes each time.

On Linux they are forks of one process that has imported it (`tests/python_server.py`); elsewhere new interpreters.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

REPOSITORY = Path(__file__).resolve().parent.parent

READ_EARLY = ("HF_", "MKL_", "OMP_", "PYTHON")
"""How variables begin that the interpreter or a library reads once, at its start or import: a fork is too late."""


class Handle(Protocol):
    """A started process: what `subprocess.Popen` and `Fork` share."""

    pid: int

    def wait(self, timeout: float | None = None) -> int: ...


class Fork:
    """A process of the server, whose id and exit status come through a socket."""

    def __init__(self, reply: socket.socket) -> None:
        self._reply = reply
        self._status: int | None = None
        self.pid = int(reply.recv(100))

    def wait(self, timeout: float | None = None) -> int:
        if self._status is None:
            self._reply.settimeout(timeout)
            try:
                self._status = int(self._reply.recv(100))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("python", timeout or 0) from None
            self._reply.close()
        return self._status


class Process:
    """A running command, with what tests use of `subprocess.Popen`.

    Output goes to files, so that it need not be read for the command to go on.
    """

    def __init__(self, handle: Handle, stdin: IO[str], stdout: IO[str], stderr: IO[str]) -> None:
        self._handle = handle
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self.pid = handle.pid

    def poll(self) -> int | None:
        try:
            return self._handle.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        return self._handle.wait(timeout)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, together with the processes that it has started, unless it has ended."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def write_line(self, line: str) -> None:
        print(line, file=self._stdin, flush=True)

    def read_line(self, timeout: float = 120) -> str:
        """The next line of its output, once it is written; what there is if it has ended or is late."""
        deadline, line = time.monotonic() + timeout, ""
        while not line.endswith("\n"):
            over = self.poll() is not None or time.monotonic() > deadline
            line += self._stdout.readline()
            if over:
                break
            time.sleep(0.005)
        return line

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """The rest of its output and its errors, when it has ended."""
        self._stdin.close()
        self.wait(timeout)
        return self._stdout.read(), self._stderr.read()


class PythonStarter:
    """Starts processes.

    Args:
        server: The socket of a server, which has this process's present environment; None to start an interpreter
            for each.
    """

    def __init__(self, server: socket.socket | None) -> None:
        self._server = server
        self._early = _read_early(dict(os.environ))

    def start(
        self,
        *arguments: str | Path,
        cwd: Path,
        env: dict[str, str] | None = None,
        merged: bool = False,
        fresh: bool = False,
    ) -> Process:
        """Start `python ARGUMENTS`.

        Args:
            arguments: As of Python: -m MODULE, -c CODE, or a file; and the arguments of that.
            cwd: Its folder.
            env: Variables beside those of this process.
            merged: Whether errors are part of the output.
            fresh: Whether to start a new interpreter, which imports everything anew.
        """
        command = [str(argument) for argument in arguments]
        environment = {**os.environ, **(env or {})}
        with tempfile.NamedTemporaryFile("a") as out, tempfile.NamedTemporaryFile("a") as errors:
            read, write = os.pipe()
            files = [read, out.fileno(), out.fileno() if merged else errors.fileno()]
            if self._server is None or fresh or _read_early(environment) != self._early:
                handle: Handle = _interpreter(command, cwd, environment, files)
            else:
                handle = _fork(self._server, command, cwd, environment, files)
            os.close(read)
            return Process(handle, open(write, "w"), open(out.name), open(errors.name))

    def run(
        self, *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Start `python ARGUMENTS`, and wait for its end; see `start`."""
        process = self.start(*arguments, cwd=cwd, env=env, fresh=fresh)
        try:
            output, errors = process.communicate(timeout=300)
        finally:
            process.kill()
        return subprocess.CompletedProcess(list(arguments), process.wait(), output, errors)


def _read_early(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_EARLY)}


def _interpreter(command: list[str], cwd: Path, environment: dict[str, str], files: list[int]) -> Handle:
    stdin, stdout, stderr = files
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def _fork(
    server: socket.socket, command: list[str], cwd: Path, environment: dict[str, str], files: list[int]
) -> Handle:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    request = {"arguments": command, "folder": str(cwd), "environment": environment}
    with theirs:
        socket.send_fds(server, [json.dumps(request).encode()], [*files, theirs.fileno()])
    return Fork(ours)


@contextmanager
def python_starter() -> Iterator[PythonStarter]:
    """A starter whose server is started by its first process, and ends with this context."""
    if not hasattr(os, "pidfd_open"):  # not Linux
        yield PythonStarter(None)
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as compiled:
        with theirs:
            server = subprocess.Popen(
                [sys.executable, REPOSITORY / "tests/python_server.py", str(theirs.fileno()), compiled],
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        with ours:
            yield PythonStarter(ours)
        server.wait(timeout=60)
