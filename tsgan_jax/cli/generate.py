"""bin/generate: labelled CT slices from a trained run, as a COCO set; run it again to finish one."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsgan_jax.cli import _request
from tsgan_jax.cli._command import add_networks, ending, networks_folder, parser_of, program, seed, truncation, whole
from tsgan_jax.errors import UserError

if TYPE_CHECKING:
    from tsgan_jax.cli._console import LiveConsole, PlainConsole
    from tsgan_jax.config import Config
    from tsgan_jax.generation.generate import Progress, SetSummary

_EPILOG = """\
The set has images/ (8-bit PNG in the window), hu/ (16-bit PNG, HU + 1024), masks/ (8-bit PNG, class codes 0 to 5),
colour/ (masks in colours), annotations.json (COCO, a box and a polygon for each nodule), manifest.jsonl, sheet.png and
index.html, which shows it all.  docs/formats.md says how to read each.  Image i depends only on the checkpoints, the
seed and i: a larger count extends a set, and batch size and number of devices do not change it (on an accelerator CT
may differ by one grey level).  After an interruption the same command finishes the set.  Exit codes: 0 done, 2 refused
or failed with a message, 130 or 143 interrupted.

examples: bin/generate --run runs/luna16 --count 2500 --out nodules
          bin/generate --run runs/luna16 --real-fold 0 --out real_test
          bin/generate --run runs/luna16 --set nodules --format yolo,nifti
          bin/generate --network luna16-128 --count 60 --out rare --diameter-mm 6-12 --balance size,place
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    if arguments.set is None and arguments.run is None and arguments.network is None:
        parser.error("one of the arguments --run --network is required")
    if arguments.set is not None and not arguments.formats:
        parser.error("--set: say with --format what to make of it")
    return ending(lambda: _run(arguments), "run the command again to finish the set")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.set is not None:
        return _convert(_set_of(arguments), arguments.formats)
    config, run, out = _places(arguments)
    code = _make(arguments, config, run, out)
    return code or _convert(out, arguments.formats)


def _set_of(arguments: argparse.Namespace) -> Path:
    """The folder of the finished set that --set names."""
    made = ("network", "count", "real_fold", "seed", "truncation", "batch_size", "shard", "parts")
    for name in (*made, *_request.NAMES):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: has no effect on a finished set; omit it")
    bare = arguments.run is not None and "/" not in arguments.set
    return arguments.run / "sets" / arguments.set if bare else Path(arguments.set)


def _convert(directory: Path, formats: list[str]) -> int:
    from tsgan_jax.generation.formats import convert

    for name in convert(directory, formats):
        print(f"format     {directory / name}")
    return 0


def _make(arguments: argparse.Namespace, config: "Config", run: Path, out: Path) -> int:
    if arguments.real_fold is not None:
        for name in ("seed", "truncation", "batch_size", "shard", "parts", *_request.NAMES):
            if getattr(arguments, name) is not None:
                raise UserError(f"--{name.replace('_', '-')}: has no effect on real slices; omit it")
        return _export(config, arguments.real_fold, out)
    from tsgan_jax.cli._console import console

    request = _request.request_of(arguments)
    screen = console()
    screen.say(f"set {out}: loading the networks of {run}")
    from tsgan_jax.generation.generate import generate_run
    from tsgan_jax.train.devices import keep_compiled

    keep_compiled()
    started = time.monotonic()
    try:
        summary = generate_run(
            run,
            arguments.count,
            out,
            seed=arguments.seed,
            truncation=arguments.truncation,
            batch_size=arguments.batch_size,
            request=request,
            shard=arguments.shard or (0, 1),
            parts=arguments.parts or (),
            progress=_reporter(screen),
            say=screen.say,
        )
    finally:
        screen.finish()
    for line in report(summary, time.monotonic() - started):
        screen.say(line)
    if summary.count and not summary.accepted:
        drawn = "masks" in config.stages
        mend = f"stage 1 of {run} needs more training" if drawn else "raise generation.attempts"
        raise UserError(f"{out}: every mask was refused, so the set is empty; {mend}")
    return 0


def _places(arguments: argparse.Namespace) -> tuple["Config", Path, Path]:
    """The networks' config and folder, and the set's folder: in sets/ of a run, if its name has no folder."""
    from tsgan_jax.config.reading import run_config
    from tsgan_jax.generation import packed

    run = networks_folder(arguments)
    config = run_config(run)
    bare = "/" not in arguments.out and arguments.out not in (".", "..")
    if packed.is_packed(run):
        if arguments.real_fold is not None:
            raise UserError(f"{run}: packed networks come without real slices; --real-fold needs a run directory")
        return config, run, Path(arguments.out)
    return config, run, run / "sets" / arguments.out if bare else Path(arguments.out)


def _export(config: "Config", fold: int, out: Path) -> int:
    from tsgan_jax.data.pipeline import load
    from tsgan_jax.generation.generate import export_fold

    source = {"fold": fold, "data": config.decisive_settings()["data"]}
    summary = export_fold(load(config.data, [fold]), config.data.hu_window, out, source)
    print(f"fold {fold}: {summary.accepted} real slices with {summary.objects} nodules; {summary.out}")
    return 0


def report(summary: "SetSummary", seconds: float) -> list[str]:
    """The result, as lines."""
    rate = f"{summary.accepted / summary.drawn:.0%}" if summary.drawn else "none"
    lines = [
        f"images     {summary.accepted} of {summary.count} requested"
        + (f", {summary.count - summary.made} of them finished earlier" if summary.made < summary.count else ""),
        f"masks      {summary.drawn} drawn, {rate} accepted",
        *(f"           {times} refused: {reason}" for reason, times in summary.reasons.items()),
        f"nodules    {summary.objects} boxes; {summary.specks} specks below 3 px or 3 mm have none",
    ]
    if summary.damaged:
        lines.append(f"damaged    {summary.damaged} finished images were missing or changed, and were made again")
    return [*lines, f"time       {seconds:.0f} s", f"directory  {summary.out}"]


def _reporter(screen: "PlainConsole | LiveConsole") -> "Progress":
    """Progress with images a second and the time left, measured from the first call (after compilation)."""
    started: tuple[float, int] | None = None

    def show(accepted: int, rejected: int, count: int) -> None:
        nonlocal started
        done = accepted + rejected
        start, at_start = started = started or (time.monotonic(), done)
        speed = (done - at_start) / (time.monotonic() - start) if done > at_start else 0.0
        pace = f", {speed:.2g} images/s, {(count - done) / speed:.0f} s left" if speed else ""
        screen.update("generate", done / count if count else 1.0, f"{done}/{count} images, {rejected} rejected{pace}")

    return show


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("generate", __doc__, _EPILOG)
    add_networks(parser, required=False)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--count", type=whole(), metavar="N", help="images; default: the run's generation.count")
    what.add_argument("--real-fold", type=int, choices=range(5), metavar="K", help="export real fold K instead")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--out", metavar="SET", help="directory to make; a name without a folder means DIR/sets/NAME of a run"
    )
    place.add_argument("--set", metavar="SET", help="a finished set, only to make more formats of it")
    parser.add_argument(
        "--format",
        dest="formats",
        type=_formats,
        default=[],
        metavar="LIST",
        help="formats beside COCO, with commas: yolo, monai, nifti, dicom",
    )
    parser.add_argument("--seed", type=seed, metavar="S", help="default: the run's generation.seed")
    parser.add_argument(
        "--truncation", type=truncation, metavar="T", help="0 to 1.5; smaller: more typical masks; 1: none"
    )
    parser.add_argument(
        "--batch",
        "--batch-size",
        dest="batch_size",
        type=whole(1),
        metavar="N",
        help="images at a time; default: as many as fit in memory",
    )
    parser.add_argument(
        "--shard", type=_shard, metavar="I/N", help="make the images I, I+N, I+2N, ... of the set alone, I from 0"
    )
    parser.add_argument(
        "--parts", nargs="+", type=Path, metavar="SET", help="finished shards, whose images are copied into the set"
    )
    _request.add(parser)
    return parser


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 to N - 1, such as 0/4")
    return int(index), int(count)


def _formats(text: str) -> list[str]:
    from tsgan_jax.generation.formats import FORMATS

    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in (*FORMATS, "coco"):
            raise argparse.ArgumentTypeError(f"{name!r} is no format; there are coco, {', '.join(FORMATS)}")
    return [name for name in names if name != "coco"]


if __name__ == "__main__":
    program(main)
