"""`tsgan COMMAND ...`: the commands of bin/, for an installed package (`pip install`)."""

import importlib
import sys
from pathlib import Path

from tsgan_jax.cli._command import program

COMMANDS = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem != "tsgan")


def main() -> None:
    """Run the command that the first argument names, with the others; exit codes are the command's."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(f"usage: tsgan {{{','.join(COMMANDS)}}} ...\n\ntsgan COMMAND --help says more; each is also bin/COMMAND.")
        sys.exit(0)
    if name not in COMMANDS:
        print(f"error: tsgan has no command {name!r}; it has {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"tsgan {name}", *sys.argv[2:]]
    program(importlib.import_module(f"tsgan_jax.cli.{name}").main)


if __name__ == "__main__":
    main()
