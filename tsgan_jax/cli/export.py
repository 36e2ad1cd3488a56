"""bin/export: a run's networks as StableHLO with the weights inside, for use without this package."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tsgan_jax.cli._command import add_networks, ending, networks_folder, parser_of, program, truncation

_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_EPILOG = """\
The folder has masks (noise to mask), ct (mask to CT in HU) and pairs (both) as portable StableHLO, about.json (inputs,
outputs, labels, units, hashes) and load.py, which runs them with jax alone.  See docs/export.md.

example: bin/export --network luna16-128 --platforms cpu,cuda --out exported
"""


def main(argv: Sequence[str] | None = None) -> int:
    """0: exported; 2: refused, with the reason on stderr."""
    parser = parser_of("export", __doc__, _EPILOG)
    add_networks(parser)
    parser.add_argument(
        "--platforms", type=_platforms, default=("cpu",), metavar="P,P", help="of cpu, cuda, rocm, tpu; default: cpu"
    )
    parser.add_argument("--truncation", type=truncation, metavar="T", help="of the masks; default: the run's")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="new folder")
    arguments = parser.parse_args(argv)
    return ending(lambda: _run(arguments), "run the command again with a new --out")


def _run(arguments: argparse.Namespace) -> int:
    from tsgan_jax.generation import runs
    from tsgan_jax.generation.export import export_networks

    run = networks_folder(arguments)
    about = export_networks(runs.restore(run), arguments.out, arguments.platforms, arguments.truncation, print)
    size = sum(path.stat().st_size for path in arguments.out.iterdir())
    print(f"exported {', '.join(about['functions'])} of {run}: {size / 1e6:.1f} MB in {arguments.out}")
    return 0


def _platforms(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in _PLATFORMS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(_PLATFORMS)}")
    return names


if __name__ == "__main__":
    program(main)
