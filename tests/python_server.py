"""A process with the large libraries imported; it forks itself for every command that a test starts.

Started by `tests/processes.py`, which passes it a socket. Importing takes longer than most commands that are tested.
A fork becomes `python ARGUMENTS` with its own folder, environment and files, and ends as an interpreter does.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import types
from typing import Any

LIBRARIES = (
    *("hydra", "omegaconf", "pydantic", "numpy", "PIL.Image", "torch", "torch.utils.data", "torchvision", "timm"),
    *("pytorch_lightning", "pytorch_lightning.callbacks", "rich.progress", "safetensors.torch", "torch.fx"),
    *("scipy.linalg", "scipy.optimize", "scipy.stats", "sklearn.base", "sklearn.metrics", "sklearn.model_selection"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "sklearn.manifold", "sklearn.linear_model", "jinja2"),
    *("hydra.main", "hydra._internal.hydra", "hydra.core.override_parser.overrides_parser"),
)
"""No module of ours: a command that fails because it lacks an import of its own must still fail."""

status = 0
"""The exit status of this process."""


def main() -> None:
    """Fork for each request until the other end of the socket is closed."""
    atexit.register(leave)  # first, so that it runs last
    requests = socket.socket(fileno=int(sys.argv[1]))
    # Else older releases of numpy's OpenBLAS and of pyarrow start threads when they are imported.
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
    for name in LIBRARIES:
        importlib.import_module(name)
    if sys.dont_write_bytecode:  # PYTHONDONTWRITEBYTECODE is set: each fork would compile all modules of ours anew
        sys.dont_write_bytecode, sys.pycache_prefix = False, sys.argv[2]
    gc.freeze()  # else each fork's garbage collector would visit, and so copy, all that is imported
    # A fork has only the thread that forks: one that others wait for would be missing.
    assert len(os.listdir("/proc/self/task")) == threading.active_count() == 1
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children need no waiting for
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1_000_000, 4)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            supervise(json.loads(message), files)
            return
        for file in files:
            os.close(file)


def supervise(request: dict[str, Any], files: list[int]) -> None:
    """Fork the command, and report its exit status; returns only in the command, when it has ended.

    The command is killed if nobody is left to read the report.
    """
    *standard, report = files
    reply = socket.socket(fileno=report)
    process = os.fork()
    if process == 0:
        os.setsid()
        reply.send(str(os.getpid()).encode())
        reply.close()
        run_python(request, standard)
        return
    for file in standard:
        os.close(file)
    ended = os.pidfd_open(process)
    readable, _, _ = select.select([ended, reply.fileno()], [], [])
    if ended not in readable:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if ended in readable:
        reply.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def run_python(request: dict[str, Any], files: list[int]) -> None:
    """Become `python ARGUMENTS`, with these files as standard input, output and error."""
    global status
    import numpy as np

    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    np.random.seed()  # as at its import; Python's own generator does so by itself
    try:
        run_arguments(*request["arguments"])
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        raise
    except BaseException:
        status = 1
        raise


def leave() -> None:
    """End this process without taking apart all modules, which takes half a second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run_arguments(option: str, *arguments: str) -> None:
    """Do what `python ARGUMENTS` does."""
    sys.path[0] = os.getcwd() if option == "-m" else ""
    if option == "-m":
        sys.argv = [*arguments]
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv = ["-c", *arguments[1:]]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[0], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.argv = [option, *arguments]
        sys.path[0] = os.path.dirname(os.path.abspath(option))
        runpy.run_path(option, run_name="__main__")


if __name__ == "__main__":
    main()
