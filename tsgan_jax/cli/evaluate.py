"""bin/evaluate: evaluates a trained run and writes its report, or judges a COCO set made elsewhere; every figure is
stored in evaluation/records.jsonl."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsgan_jax.cli._command import ending, parser_of, program
from tsgan_jax.errors import UserError

if TYPE_CHECKING:
    from tsgan_jax.config import Config
    from tsgan_jax.evaluation.records import Record

_EPILOG = """\
Parts: images (PSNR, SSIM, feature distances, t-SNE), masks (anatomy, CT against mask, copies),
mask_sources (stage 1's masks compared with deformed and real ones; needs stage 1 only), readers (can slices be told
from real ones? an automatic reader, and a page for others, whose answers --answers scores), detection (if the config
has a section `detection`), report (<run>/report.html).  The default is all of them.  Missing figures are
reported and recorded with the reason; the others are still computed.  Settings that may be given: evaluation.*,
detection.*, data.root, data.prepared, translation.vgg_weights; the settings of training cannot be changed.

A COCO set made elsewhere: --images and --annotations instead of a run's set.  The real slices are those of --run, or
of --config, of which any setting may be given.  Images are PNG of the real slices' size: 8 bits in data.hu_window, or
16 bits of HU + 1024.  Feature distances, number and size of nodules by boxes and copies come out; the rest needs masks.

Exit codes: 0 done, 2 refused or failed with a message, 3 done but some figures are missing, 130 or 143
interrupted.

examples: bin/evaluate --run runs/luna16 evaluation.inception_weights=/data/pt_inception-2015-12-05-6726825d.pth
          bin/evaluate --run runs/luna16 --only masks --only report
          bin/evaluate --run runs/luna16 --only mask_sources
          bin/evaluate --run runs/luna16 --only readers
          bin/evaluate --run runs/luna16 --answers answers-Ada.json
          bin/evaluate --run runs/luna16 --tables
          bin/evaluate --set rare
          bin/evaluate --images others/images --annotations others/coco.json --config configs/luna16.yaml
"""

_OPEN = ("evaluation.", "detection.", "data.root=", "data.prepared=", "translation.vgg_weights=")
"""Settings of the evaluation, which do not change the run."""

_TABLES = {
    "mask sources": "Masks by their source, before the gate",
    "mask truncation": "Masks of stage 1 by truncation",
}
"""Kinds of records that are printed as one table each, and its title."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = _parser().parse_intermixed_args(argv)
    return ending(lambda: _run(arguments), "figures finished so far are kept")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.images or arguments.annotations:
        return _judge(arguments)
    run: Path | None = arguments.run
    others = ("only", "answers", "tables", "settings", "config", "out")
    if run is None and arguments.set and not any(getattr(arguments, name) for name in others):
        print(_requested(Path(arguments.set)))
        return 0
    if run is None or arguments.config or arguments.out:
        raise UserError(
            "give --run DIR; --config and --out go with --images and --annotations; --set FOLDER alone compares a set "
            "with its request"
        )
    config = _config(run, arguments.settings)
    if arguments.tables:
        return _tables(run)
    if arguments.answers:
        return _answers(run, config, arguments.answers)
    from tsgan_jax.cli._console import console
    from tsgan_jax.detection import run_detection
    from tsgan_jax.evaluation.evaluate import PARTS, evaluate
    from tsgan_jax.evaluation.obtained import has_request
    from tsgan_jax.evaluation.subject import DEFAULT_SET
    from tsgan_jax.train.devices import keep_compiled

    keep_compiled()
    screen, name = console(), arguments.set or DEFAULT_SET
    try:
        made = evaluate(run, config, arguments.only or PARTS, set_name=name, say=screen.say, detect=run_detection)
    finally:
        screen.finish()
    for line in summary(made):
        screen.say(line)
    if arguments.set and has_request(run / "sets" / name):
        screen.say(_requested(run / "sets" / name))
    return 3 if any(record.value is None for record in made) else 0


def _requested(path: Path) -> str:
    """The table of nodules as requested and as obtained, of a set."""
    from tsgan_jax.evaluation import obtained
    from tsgan_jax.evaluation.sources import GeneratedSet

    return obtained.table(obtained.compare(GeneratedSet(path))).markdown()


def _judge(arguments: argparse.Namespace) -> int:
    """A COCO set made elsewhere."""
    images, annotations = arguments.images, arguments.annotations
    if not images or not annotations or bool(arguments.run) == bool(arguments.config):
        raise UserError("a COCO set needs --images DIR, --annotations FILE, and for the real slices --config or --run")
    if arguments.only or arguments.set or arguments.tables or arguments.answers:
        raise UserError("--only, --set, --answers and --tables are of a run's own set; they do not go with --images")
    if not images.is_dir():
        raise UserError(f"{images}: not a folder; --images is the folder with the PNG files")
    from tsgan_jax.cli._console import console
    from tsgan_jax.config.reading import load_config
    from tsgan_jax.evaluation.coco_set import CocoSet, judge
    from tsgan_jax.evaluation.subject import Subject
    from tsgan_jax.train.devices import keep_compiled

    keep_compiled()
    settings = arguments.settings
    config = load_config(arguments.config, settings) if arguments.config else _config(arguments.run, settings)
    folder = images.resolve()
    name = folder.parent.name if folder.name == "images" else folder.name
    out = arguments.out or Path("judged") / name
    data = config.data
    made = CocoSet(images, annotations, data.resolution, data.hu_window, config.evaluation.count)
    screen = console()
    try:
        subject = Subject(out, config, say=screen.say)
        found = judge(subject, made, name)
        for line in summary(found):
            screen.say(line)
        screen.say(f"figures: {subject.folder}")
    finally:
        screen.finish()
    return 3 if any(record.value is None for record in found) else 0


def summary(records: Sequence["Record"]) -> list[str]:
    """One line per new figure, tables of masks, and the number of missing figures."""
    from tsgan_jax.evaluation.mask_table import table_lines

    lines = []
    for record in records:
        if record.kind in _TABLES and record.value is not None:
            continue
        if record.value is None:
            lines.append(f"{record.kind:<16}{record.subject:<24}{record.metric:<28}none: {record.reason}")
            continue
        interval = f"  [{record.interval[0]:.4g}, {record.interval[1]:.4g}]" if record.interval else ""
        floor = f"  real {record.floor:.4g}" if record.floor is not None else ""
        lines.append(
            f"{record.kind:<16}{record.subject:<24}{record.metric:<28}{record.value:.4g}{interval}{floor}  n {record.n}"
        )
    for kind, title in _TABLES.items():
        found = [record for record in records if record.kind == kind and record.value is not None]
        lines += [title, *table_lines(found)] if found else []
    missing = sum(record.value is None for record in records)
    return [*lines, f"{missing} of {len(records)} figures are missing"] if missing else lines


def _config(run: Path, settings: Sequence[str]) -> "Config":
    """The run's config with the settings that may be given."""
    for setting in settings:
        if not setting.startswith(_OPEN):
            raise UserError(
                f"override '{setting}': a run is evaluated as it was trained; "
                f"settings that may be given start with {', '.join(key.rstrip('=') for key in _OPEN)}"
            )
    from tsgan_jax.config.reading import run_config

    return run_config(run, settings)


def _answers(run: Path, config: "Config", files: Sequence[Path]) -> int:
    """Score readers' answers, record the figures and write the report again."""
    from tsgan_jax.evaluation.readers import score
    from tsgan_jax.evaluation.records import FOLDER, RECORDS, append
    from tsgan_jax.evaluation.report import write_report

    found = [record for file in files for record in score(run, file)]
    append(run / FOLDER / RECORDS, found)
    for line in [*summary(found), f"report: {write_report(run, config)}"]:
        print(line)
    return 0


def _tables(run: Path) -> int:
    """Print and write Tables 1 to 4 from the records."""
    from tsgan_jax.evaluation.report import write_tables

    for text in write_tables(run):
        print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("evaluate", __doc__, _EPILOG)
    parser.add_argument("--run", type=Path, metavar="DIR", help="run directory of bin/train")
    parser.add_argument(
        "--only",
        action="append",
        choices=("images", "masks", "mask_sources", "readers", "detection", "report"),
        help="only this part; repeatable",
    )
    parser.add_argument(
        "--set",
        metavar="NAME",
        help="set under DIR/sets (default: synthetic); without --run, the folder of a set made with bin/generate's "
        "--diameter-mm and the like, of which requested and obtained nodules are compared",
    )
    parser.add_argument("--answers", action="append", type=Path, metavar="FILE", help="score a reader's; repeatable")
    parser.add_argument("--tables", action="store_true", help="rebuild Tables 1 to 4 from the records only")
    parser.add_argument("--images", type=Path, metavar="DIR", help="images of a COCO set made elsewhere")
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="its COCO file with the nodules' boxes")
    parser.add_argument("--config", type=Path, metavar="FILE", help="config of the real slices, instead of --run")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for its figures (default: judged/ and its name)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="override one setting of the run's config")
    return parser


if __name__ == "__main__":
    program(main)
