"""The command line: `--help` and `--version` are answered at once; Hydra does the rest (`transferkit.cli.app`)."""

import os
import sys

from transferkit import __version__
from transferkit.cli.help import help_text

PIPE_CLOSED = 141
"""The exit status of a program that SIGPIPE ends, as a shell tells it."""


def main() -> None:
    """Run the command line of this process."""
    if "--version" in sys.argv:
        _show(f"transferkit {__version__}")
    elif {"--help", "-h"} & set(sys.argv):
        _show(help_text(sys.argv[1:]))
    elif {"-sc", "--shell-completion"} & set(sys.argv):
        from transferkit.cli.completion import complete

        complete()
    else:
        from transferkit.cli.app import run  # Hydra takes a fifth of a second to import

        run()


def _show(text: str) -> None:
    """Print a text; end quietly, as Unix tools do, where its reader has gone (`| head`)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        sys.exit(PIPE_CLOSED)


if __name__ == "__main__":
    main()
