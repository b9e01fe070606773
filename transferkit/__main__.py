"""The command line: `--help` and `--version` are answered at once; Hydra does the rest (`transferkit.cli.app`)."""

import sys

from transferkit import __version__
from transferkit.cli.help import help_text


def main() -> None:
    """Run the command line of this process."""
    if "--version" in sys.argv:
        print(f"transferkit {__version__}")
    elif {"--help", "-h"} & set(sys.argv):
        print(help_text(sys.argv[1:]))
    elif {"-sc", "--shell-completion"} & set(sys.argv):
        from transferkit.cli.completion import complete

        complete()
    else:
        from transferkit.cli.app import run  # Hydra takes a fifth of a second to import

        run()


if __name__ == "__main__":
    main()
