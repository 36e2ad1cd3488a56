"""bin/prepare: prepares the slices of a LUNA16 tree, with a verdict on every scan."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsgan_jax.cli._command import ending, parser_of, program, whole

if TYPE_CHECKING:
    from tsgan_jax.data.luna16 import Prepared
    from tsgan_jax.data.verify import ScanVerdict

_EPILOG = """\
Reads every scan of data.root once (headers, sizes on disk, checksums, HU, annotations), cuts the central slice of
each nodule, and stores the slices under data.prepared.  A scan that cannot be used is reported and left out.
Without data.root a phantom tree is written and prepared.  A second run uses the prepared slices.

example: bin/prepare --config configs/luna16.yaml data.root=/data/LUNA16 data.resolution=256
"""


def main(argv: Sequence[str] | None = None) -> int:
    """0: prepared; 2: nothing could be prepared, with the reason on stderr; 130, 143: interrupted."""
    arguments = _parser().parse_intermixed_args(argv)
    return ending(lambda: _run(arguments), "run the command again to start over")


def _run(arguments: argparse.Namespace) -> int:
    from tsgan_jax.config.reading import load_config

    config = load_config(arguments.config, arguments.settings).data
    from tsgan_jax.cli._console import console
    from tsgan_jax.data.luna16 import RECORD, prepare

    screen, started = console(sys.stderr), time.monotonic()

    def progress(done: int, total: int, verdict: "ScanVerdict") -> None:
        left = (time.monotonic() - started) * (total - done) / done
        screen.update("scans", done / total, f"scan {done} of {total}, {left:.0f} s left")

    try:
        prepared = prepare(config, workers=arguments.workers, progress=None if arguments.json else progress)
    finally:
        screen.finish()
    if arguments.json:
        print((prepared.directory / RECORD).read_text())
    else:
        _print(prepared)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("prepare", __doc__, _EPILOG)
    parser.add_argument("--config", required=True, metavar="FILE", help="experiment, a YAML file")
    parser.add_argument(
        "--workers", type=whole(1), metavar="N", help="processes; default: one per core, at most 8"
    )
    parser.add_argument("--json", action="store_true", help="print only the verdicts, as JSON")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="override one setting of the file")
    return parser


def _print(prepared: "Prepared") -> None:
    """Print one line per scan, then the summary."""
    from rich.console import Console

    console = Console(soft_wrap=True, highlight=False, markup=False)
    styles = {"ok": "green", "warning": "yellow", "refused": "bold red"}
    for verdict in prepared.record.scans:
        console.print(verdict.line(), style=styles[verdict.status] if console.is_terminal else None)
    for reason in prepared.record.annotations_dropped:
        console.print(f"dropped  {reason}")
    s = prepared.summary
    usable = s.scans - s.refused
    console.print(f"\nscans      {usable} usable ({s.warned} with warnings), {s.refused} refused")
    console.print(f"slices     {s.slices} of {s.resolution} x {s.resolution} pixels, {s.nodules} nodules drawn")
    if s.subpixel:
        console.print(f"           {s.subpixel} of these are smaller than a pixel; a higher data.resolution shows them")
    console.print("folds      " + ", ".join(f"{fold}: {count}" for fold, count in enumerate(s.folds)) + " slices")
    console.print(f"lungs      {s.lungs_given} scans by their seg-lungs mask, {s.lungs_segmented} segmented from HU")
    console.print(f"dropped    {s.dropped} annotations; {s.unknown} more are of scans that are not in the tree")
    console.print(f"time       {s.seconds} s" + ("" if prepared.fresh else " (prepared earlier, found again)"))
    console.print(f"directory  {prepared.directory}")


if __name__ == "__main__":
    program(main)
