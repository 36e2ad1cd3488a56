"""Arguments that several commands have."""

import argparse
from collections.abc import Callable
from pathlib import Path

from tsgan_jax.errors import UserError


def parser(command: str, description: str | None, epilog: str) -> argparse.ArgumentParser:
    """The parser of one command; `epilog` is printed as it is."""
    return argparse.ArgumentParser(
        prog=f"bin/{command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def check_run(run: Path) -> None:
    """Raise UserError unless a folder is the run directory of bin/train."""
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: not a run directory (it has no config.yaml); bin/train makes one")


def whole(least: int = 0, below: int | None = None) -> Callable[[str], int]:
    """The type of a whole number from `least` on and, if given, below `below`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        if below is not None and number >= below:
            raise argparse.ArgumentTypeError(f"{text} is not below {below}")
        return number

    return read


def seed(text: str) -> int:
    """A seed of JAX's keys."""
    from tsgan_jax.config import SEEDS

    return whole(below=SEEDS)(text)


def truncation(text: str) -> float:
    """A number from 0 to 1.5."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1.5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1.5")
    return number
