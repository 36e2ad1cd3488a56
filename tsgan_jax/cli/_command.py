"""What every command has: its parser, and its end with a message and an exit code.

A mistake of the user's never shows a traceback.  An exception that nothing expected is a defect of ours: it is shown
whole, with the exit code 70.
"""

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tsgan_jax.errors import UserError

OF_THE_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP),
}
"""Error numbers with a cause in the file system that the user can correct."""
DEFECT = 70  # exit code of an internal error (EX_SOFTWARE)
_is_program = False


def parser_of(command: str, description: str | None, epilog: str) -> argparse.ArgumentParser:
    """The parser of one command; `epilog` is printed as it is."""
    return argparse.ArgumentParser(
        prog=sys.argv[0] if sys.argv[0].startswith("tsgan ") else f"bin/{command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_networks(parser: argparse._ActionsContainer, required: bool = True) -> None:
    """Add --run and --network, of which one is given."""
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument("--run", type=Path, metavar="DIR", help="run directory of bin/train, or a folder of bin/pack")
    source.add_argument("--network", metavar="NAME", help="networks that come with the package, such as phantom-64")


def networks_folder(arguments: argparse.Namespace) -> Path:
    """The folder that --run or --network names; UserError for a network that does not come with the package."""
    from tsgan_jax.generation import packed

    folder: Path = packed.shipped(arguments.network) if arguments.network else arguments.run
    return folder


def whole(least: int = 0, below: int | None = None) -> Callable[[str], int]:
    """The type of a whole number from `least` on and, if given, below `below`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least or (below is not None and number >= below):
            limits = f"below {least}" if number < least else f"not below {below}"
            raise argparse.ArgumentTypeError(f"{text} is {limits}")
        return number

    return read


def seed(text: str) -> int:
    """A seed of JAX's keys."""
    from tsgan_jax.config import SEEDS

    return whole(below=SEEDS)(text)


def truncation(text: str) -> float:
    """A value of `generation.truncation`."""
    from tsgan_jax.config.experiment import MOST_TRUNCATION

    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MOST_TRUNCATION:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {MOST_TRUNCATION}")
    return number


def program(main: Callable[[], int]) -> NoReturn:
    """Run a command as the whole of this process."""
    global _is_program
    _is_program = True
    sys.exit(main())


def leave(code: int) -> int:
    """End the program at once after a signal, with all saved; elsewhere, as in a test, return the code.

    TensorFlow takes seconds to stop its input pipelines, and Orbax its threads: nobody needs them any more, and a
    cluster grants a short time only.
    """
    if _is_program:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def ending(work: Callable[[], int], afterwards: str) -> int:
    """The exit code of `work()`: 2 for a UserError or a disk that refuses, 130 after Ctrl-C, 143 after SIGTERM, 70 for
    a defect of ours.

    afterwards: what an interrupted user is told, "run the command again to ...".
    """

    def terminate(signum: int, frame: Any) -> None:
        print(f"terminated; {afterwards}", file=sys.stderr)
        sys.exit(128 + signum)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {afterwards}", file=sys.stderr)
        return leave(130)
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGTERM:
            leave(stop.code)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            place = f"{error.filename}: " if error.filename else ""
            print(f"error: {place}{error.strerror}; check the disk and permissions, then {afterwards}", file=sys.stderr)
            return 2
        traceback.print_exc()
        print(
            "error: this is a defect of tsgan_jax and not of your input; please report it, with the command and the "
            f"lines above; once it is mended, {afterwards}",
            file=sys.stderr,
        )
        return DEFECT
    finally:
        signal.signal(signal.SIGTERM, before)
