"""bin/translate: CT of your own six-class masks, by the networks of a run or those that come with the package."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tsgan_jax.cli._command import add_networks, ending, networks_folder, parser_of, program, seed

_EPILOG = """\
A mask has the codes 0 background, 1 body, 2 left lung, 3 right lung, 4 trachea, 5 nodule, as a grey or indexed PNG of 8
bits, or as NIfTI of axial slices.  The patient's left is at the right of a PNG, the front at its top.  Written are
images/ (8 bits, in the window) and hu/ (16 bits, HU + 1024) of PNG, nifti/ (HU, on the mask's grid) of NIfTI.
Exit codes: 0 done, 2 refused with a message.

example: bin/translate --network luna16-128 --masks painted --out ct
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = parser_of("translate", __doc__, _EPILOG)
    add_networks(parser)
    parser.add_argument("--masks", required=True, type=Path, metavar="FOLDER", help="masks, or one file")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="new folder")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the noise; default: 0")
    parser.add_argument("--resize", action="store_true", help="resize masks of another size by nearest neighbour")
    arguments = parser.parse_args(argv)
    return ending(lambda: _run(arguments), "run the command again with a new --out")


def _run(arguments: argparse.Namespace) -> int:
    from tsgan_jax.config.reading import run_config

    run = networks_folder(arguments)
    side = run_config(run).data.resolution
    from tsgan_jax.generation.networks import load_run
    from tsgan_jax.generation.painted import mask_files, translate_files
    from tsgan_jax.train.devices import keep_compiled

    files = mask_files(arguments.masks, side, arguments.resize)
    keep_compiled()
    networks = load_run(run)
    translate_files(networks, files, arguments.out, arguments.seed)
    print(f"CT of {len(files)} files in {arguments.out}; a pixel of the network is {networks.trained.pixel_mm:.2f} mm")
    return 0


if __name__ == "__main__":
    program(main)
