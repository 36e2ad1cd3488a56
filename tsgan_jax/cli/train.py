"""bin/train: data, both stages and a generated set of one experiment, or a whole study; run it again to resume."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsgan_jax.cli._command import ending, leave, parser_of, program, whole
from tsgan_jax.errors import UserError

if TYPE_CHECKING:
    from tsgan_jax.train.hooks import Console

_EPILOG = """\
The run directory has all results: config.yaml, masks/ and translation/ (checkpoints, log.jsonl, samples/*.png),
sets/.  After an interruption the same command continues from the last checkpoint, with the same
result.  A config with a section `study` compares several systems: each is trained in <run>/systems/<name>, and
<run>/report.html, tables/ and figure*.png compare them; settings given here apply to all of them.
Several processes, on one host or many, train together: start each with the same --coordinator and --num-processes and
its own --process-id, or all with srun (docs/scaling.md).  They share --run, and stop after the stages.
Exit codes: 0 done, 2 refused or failed with a message, 3 done but a study left a system out, 75 another
process was lost, 130 or 143 interrupted with all saved.

examples: bin/train --config configs/luna16.yaml data.root=/data/LUNA16 translation.epochs=50
          bin/train --config configs/tables/table1_cpu.yaml data.root=/data/LUNA16 --dry-run
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    joined = (arguments.coordinator, arguments.num_processes, arguments.process_id)
    if None in joined and joined != (None, None, None):
        parser.error("--coordinator, --num-processes and --process-id belong together")
    if None not in joined and arguments.process_id >= arguments.num_processes:
        parser.error(f"--process-id is below --num-processes, {arguments.num_processes}")
    several = joined != (None, None, None) or int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    code = ending(lambda: _run(arguments, several), "run the command again to continue from the last checkpoint")
    return leave(code) if several and code else code  # JAX would wait for the others


def _run(arguments: argparse.Namespace, several: bool) -> int:
    from tsgan_jax.config.reading import is_study, load_config

    if is_study(arguments.config):
        if several:
            raise UserError(f"{arguments.config}: is a study; start a process of its own for each of its systems")
        return _study(arguments)
    config = load_config(arguments.config, arguments.settings)  # before JAX is imported: errors are reported at once
    run = arguments.run or Path("runs") / arguments.config.stem

    if arguments.dry_run:
        from tsgan_jax.experiment.dry_run import describe

        stages = config.stages if arguments.stage == "all" else (arguments.stage,)
        return _show(*describe(config, run, stages))
    if several:
        _join(arguments)
    from tsgan_jax.experiment.train import train

    def work(screen: "Console") -> int:
        train(config, run, screen, arguments.stage, arguments.allow_config_change)
        screen.say(f"done: {run}")
        return 0

    return _interruptible(work, run)


def _join(arguments: argparse.Namespace) -> None:
    """Join the other processes."""
    from tsgan_jax.train.processes import Place, start

    place = Place(arguments.coordinator, arguments.num_processes, arguments.process_id)
    start(place, arguments.peer_timeout)


def _study(arguments: argparse.Namespace) -> int:
    """Train and compare several systems."""
    from tsgan_jax.study.settings import load_study

    if arguments.stage != "all" or arguments.allow_config_change:
        raise UserError(
            f"{arguments.config}: is a study, which trains all its systems; --stage and --allow-config-change are "
            "for the run of one system"
        )
    study = load_study(arguments.config, arguments.settings)
    directory = arguments.run or Path("runs") / arguments.config.stem
    if arguments.dry_run:
        from tsgan_jax.study.dry_run import describe

        return _show(*describe(study, directory))
    from tsgan_jax.study.run import run_study

    def work(screen: "Console") -> int:
        report, left_out = run_study(study, directory, screen)
        screen.say(f"done: {report}{'; left out: ' if left_out else ''}{', '.join(left_out)}")
        return 3 if left_out else 0

    return _interruptible(work, directory)


def _show(plan: str, problem: str | None) -> int:
    """Print a dry run's plan, also if training would fail."""
    print(plan)
    if problem:
        raise UserError(problem)
    return 0


def _interruptible(work: "Callable[[Console], int]", directory: Path) -> int:
    """The exit status of `work`, or of the signal that stopped it after saving."""
    from tsgan_jax.cli._console import console
    from tsgan_jax.train import processes
    from tsgan_jax.train.loop import Interrupted

    screen = console()
    try:
        return work(screen)
    except Interrupted as stop:
        screen.finish()
        print(f"{stop}: saved in {directory}; run the command again to go on", file=sys.stderr)
        return leave(128 + stop.signum)
    except Exception as error:
        if not processes.is_loss(error):
            raise
        print(processes.lost_message(processes.index()), file=sys.stderr)
        return processes.LOST
    finally:
        screen.finish()


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("train", __doc__, _EPILOG)
    parser.add_argument(
        "--config", required=True, type=Path, metavar="FILE", help="a YAML file, or quickstart, luna16, ..."
    )
    parser.add_argument(
        "--stage", choices=("masks", "translation", "all"), default="all", help="what to train (default: all)"
    )
    parser.add_argument("--run", type=Path, metavar="DIR", help="run directory (default: runs/<name of the config>)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan: phases, parameters, memory, disk")
    parser.add_argument(
        "--allow-config-change",
        action="append",
        default=[],
        metavar="KEY",
        help="let KEY (or section) differ from the run's earlier training; repeatable",
    )
    group = parser.add_argument_group("several processes")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0; the same in all")
    group.add_argument("--num-processes", type=whole(1), metavar="N")
    group.add_argument("--process-id", type=whole(), metavar="I", help="from 0")
    group.add_argument(
        "--peer-timeout", type=whole(1), default=100, metavar="S", help="seconds until one counts as lost"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="override one setting of the file")
    return parser


if __name__ == "__main__":
    program(main)
