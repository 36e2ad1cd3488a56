"""bin/show: pictures of a network: a walk through its masks, style mixing and truncation, with the CT of each mask."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tsgan_jax.cli._command import add_networks, ending, networks_folder, parser_of, program, seed, truncation

_EPILOG = """\
Written are walk.gif and walk.png (from image to image and back), mixing.png (coarse styles of the row, fine ones of the
column) and truncation.png (the same images at six truncations).  Masks are as drawn, before the plausibility gate.
Exit codes: 0 done, 2 refused with a message.

example: bin/show --network luna16-128 --out pictures
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = parser_of("show", __doc__, _EPILOG)
    add_networks(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the images; default: 0")
    parser.add_argument("--truncation", type=truncation, metavar="T", help="0 to 1.5; default: the run's")
    arguments = parser.parse_args(argv)
    return ending(lambda: _run(arguments), "run the command again")


def _run(arguments: argparse.Namespace) -> int:
    run = networks_folder(arguments)
    from tsgan_jax.generation import pictures
    from tsgan_jax.generation.networks import load_run
    from tsgan_jax.train.devices import keep_compiled

    keep_compiled()
    for path in pictures.write(load_run(run), arguments.out, arguments.seed, arguments.truncation):
        print(path)
    return 0


if __name__ == "__main__":
    program(main)
