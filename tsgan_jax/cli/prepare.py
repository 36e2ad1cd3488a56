"""bin/prepare: prepares the slices of a LUNA16 tree, or of scans of your own, with a verdict on every scan."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsgan_jax.cli._command import ending, parser_of, program, whole
from tsgan_jax.errors import UserError

if TYPE_CHECKING:
    from tsgan_jax.data.luna16 import Prepared
    from tsgan_jax.data.verify import ScanVerdict

_EPILOG = """\
Reads every scan of data.root once (headers, sizes on disk, checksums, HU, annotations), cuts the central slice of
each nodule, and stores the slices under data.prepared.  A scan that cannot be used is reported and left out.
Without data.root a phantom tree is written and prepared.  A second run uses the prepared slices.

With --image, scans of your own are first copied into the tree data.root, which may be new: DICOM, NIfTI or MetaImage.
A nodules' CSV has LUNA16's columns seriesuid,coordX,coordY,coordZ,diameter_mm: the image's name without suffix (of
DICOM its SeriesInstanceUID) and world mm, x to the patient's left, y to the back, z to the head (LPS).

examples: bin/prepare --config configs/luna16.yaml data.root=/data/LUNA16 data.resolution=256
          bin/prepare --config configs/luna16.yaml data.root=/data/ours --image ct.nii.gz --nodules nodules.csv
"""


def main(argv: Sequence[str] | None = None) -> int:
    """0: prepared; 2: nothing could be prepared, with the reason on stderr; 130, 143: interrupted."""
    arguments = _parser().parse_intermixed_args(argv)
    return ending(lambda: _run(arguments), "run the command again to start over")


def _run(arguments: argparse.Namespace) -> int:
    from tsgan_jax.config.reading import load_config

    config = load_config(arguments.config, arguments.settings).data
    from tsgan_jax.cli._console import console
    from tsgan_jax.data.luna16 import RECORD, check_split, prepare

    own = _add_scans(config.root, arguments)
    screen, started = console(sys.stderr), time.monotonic()

    def progress(done: int, total: int, verdict: "ScanVerdict") -> None:
        left = (time.monotonic() - started) * (total - done) / done
        screen.update("scans", done / total, f"scan {done} of {total}, {left:.0f} s left")

    try:
        prepared = prepare(
            config, workers=arguments.workers, progress=None if arguments.json else progress, split=not own
        )
    finally:
        screen.finish()
    if arguments.json:
        print((prepared.directory / RECORD).read_text())
    else:
        _print(prepared)
    if own:
        try:
            check_split(config, prepared.summary)
        except UserError as error:
            print(f"note: there are too few scans to train: {error}", file=sys.stderr)
    return 0


def _add_scans(root: Path | None, arguments: argparse.Namespace) -> bool:
    """Add the images to the tree `root`; whether there are any."""
    if not arguments.image:
        if arguments.nodules or arguments.series:
            raise UserError("--nodules, --series: only together with --image")
        return False
    if not arguments.nodules:
        raise UserError("--image: give its nodules too, as --nodules")
    if root is None:
        raise UserError("data.root: missing; name the folder, new or of earlier scans, into which they are copied")
    if stray := [path for path in arguments.image + arguments.nodules if "=" in str(path) and not path.exists()]:
        raise UserError(f"{stray[0]}: does not exist; a setting goes before --image, or after --config FILE")
    from tsgan_jax.data.own import add_scans

    add_scans(root, arguments.image, arguments.nodules, arguments.series, lambda line: print(line, file=sys.stderr))
    return True


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("prepare", __doc__, _EPILOG)
    parser.add_argument("--config", required=True, metavar="FILE", help="a YAML file, or quickstart, luna16, ...")
    parser.add_argument("--workers", type=whole(1), metavar="N", help="processes; default: one per core, at most 8")
    parser.add_argument(
        "--image",
        type=Path,
        nargs="+",
        action="extend",
        metavar="PATH",
        help="scans of your own: folders with a DICOM series each, .nii, .nii.gz or .mhd files",
    )
    parser.add_argument(
        "--nodules",
        type=Path,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="their nodules: one .csv for all, or for each image a mask of its grid or a COCO .json",
    )
    parser.add_argument("--series", metavar="UID", help="the SeriesInstanceUID to take of a folder that holds several")
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
