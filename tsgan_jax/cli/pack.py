"""bin/pack: packs a run's networks into a folder of a few megabytes, from which bin/generate makes sets."""

from collections.abc import Sequence
from pathlib import Path

from tsgan_jax.cli._command import ending, parser_of, program

_EPILOG = """\
The folder has the running mean of stage 1's weights and stage 2's weights in half precision, the settings without
this machine's paths, and hashes.  Sets made from it are not bit by bit those of the run.

example: bin/pack --run runs/luna16 --out luna16-512 && bin/generate --run luna16-512 --count 100 --out nodules
"""


def main(argv: Sequence[str] | None = None) -> int:
    """0: packed; 2: refused, with the reason on stderr."""
    parser = parser_of("pack", __doc__, _EPILOG)
    parser.add_argument("--run", required=True, type=Path, metavar="DIR", help="run directory of bin/train")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="new folder")
    arguments = parser.parse_args(argv)
    return ending(lambda: _run(arguments.run, arguments.out), "run the command again")


def _run(run: Path, out: Path) -> int:
    from tsgan_jax.generation.runs import pack

    pack(run, out)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"packed {run}: {size / 1e6:.1f} MB in {out}")
    return 0


if __name__ == "__main__":
    program(main)
