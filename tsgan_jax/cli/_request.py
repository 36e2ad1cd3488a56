"""Arguments of bin/generate that ask for nodules of a number, size, side and place."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsgan_jax.generation.requests import Request

NAMES = ("nodules", "diameter_mm", "side", "place", "balance")
"""The arguments, which are the fields of a request."""

_ABOUT = """\
The nodules of the masks are removed and others drawn.  Any of these options asks for it; the others then have the
values in brackets.  docs/control.md defines the places and says how well the CT follows."""

_NO_TEXTURE = (
    "cannot be had: masks have one class of nodules and stage 2 has no other input, so all nodules look as those of "
    "the training data do on average"
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to a parser."""
    group = parser.add_argument_group("nodules on request", _ABOUT)
    group.add_argument("--nodules", type=_span(int), metavar="N[-M]", help="nodules in an image, 1 to 8 (1)")
    group.add_argument(
        "--diameter-mm", type=_span(float), metavar="A[-B]", help="of the disc of equal area, 3 to 30 (4-12)"
    )
    group.add_argument("--side", choices=("left", "right", "any"), help="the patient's (any)")
    group.add_argument("--place", choices=("juxtapleural", "peripheral", "central", "any"), help="in the lung (any)")
    group.add_argument(
        "--balance",
        type=lambda text: tuple(name.strip() for name in text.split(",")),
        metavar="LIST",
        help="of size (bounds 6, 8, 15 mm), side, place, with commas: every combination is equally frequent (none)",
    )
    group.add_argument("--texture", type=_refused, metavar="KIND", help=_NO_TEXTURE)


def given(arguments: argparse.Namespace) -> list[str]:
    """The names of the arguments that were given."""
    return [name for name in NAMES if getattr(arguments, name) is not None]


def request_of(arguments: argparse.Namespace) -> "Request | None":
    """The request; None without any of the arguments.  UserError for one that cannot be drawn."""
    from tsgan_jax.generation.requests import Request

    names = given(arguments)
    return Request(**{name: getattr(arguments, name) for name in names}) if names else None


def _span(number: type[int] | type[float]) -> Callable[[str], tuple[float, float]]:
    """The type of a number, or of two with a dash between."""

    def read(text: str) -> tuple[float, float]:
        first, _, last = text.partition("-")
        try:
            return number(first), number(last or first)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number, nor two as in 1-3") from None

    return read


def _refused(text: str) -> None:
    raise argparse.ArgumentTypeError(f"{text}: {_NO_TEXTURE}")
