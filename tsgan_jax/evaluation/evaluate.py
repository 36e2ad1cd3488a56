"""Evaluation of a trained run: one figure per line in <run>/evaluation/records.jsonl.

A figure that cannot be computed has a record with the reason; the others are still computed.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import jax
import numpy as np

from tsgan_jax.config import Config
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import mask_table, parts, readers
from tsgan_jax.evaluation.records import AT, FAILED, RECORDS, RETRY, Kind, MakeRecord, Record, append
from tsgan_jax.evaluation.report import write_report
from tsgan_jax.evaluation.subject import Say, Subject

EvaluationPart = Literal["images", "masks", "mask_sources", "readers", "detection", "report"]
PARTS: tuple[EvaluationPart, ...] = get_args(EvaluationPart)

Detect = Callable[[Path, Config, Say, Path], list[Record]]
"""(run, config, say, set) to the records of detectors; given by the caller, because detection is a separate package."""

Step = tuple[EvaluationPart, Kind, str, Callable[[Subject], list[Record]]]
STEPS: tuple[Step, ...] = (
    ("images", "similarity", "PSNR and SSIM", parts.evaluate_similarity),
    ("images", "distance", "feature distances", parts.evaluate_distances),
    ("images", "embedding", "t-SNE", parts.evaluate_embedding),
    ("masks", "masks", "mask statistics", parts.evaluate_masks),
    ("masks", "adherence", "CT against mask", parts.evaluate_adherence),
    ("masks", "copies", "copies", parts.evaluate_copies),
    ("mask_sources", "mask sources", "masks by their source", mask_table.measure_sources),
    ("mask_sources", "mask truncation", "masks by truncation", mask_table.measure_truncations),
    ("readers", "readers", "readers", readers.read),
)


def evaluate(
    run: Path,
    config: Config,
    only: Collection[EvaluationPart] = PARTS,
    *,
    set_name: str = "synthetic",
    say: Say = print,
    detect: Detect | None = None,
) -> list[Record]:
    """Evaluate a run and write its report; returns the new records, which are appended to its records file.

    config: the run's, with paths and `evaluation.*` as they are now.  only: the parts wanted.  set_name: the set
    that stands for the run; "synthetic" is made first where it is missing, another one that is missing is refused.
    detect: trains and tests detectors, where the config has a section `detection`.
    """
    subject = Subject(run, config, set_name, say)
    wanted = [step for step in STEPS if step[0] in only]
    if "mask_sources" in only and config.generation.masks != "stylegan":
        wanted = [step for step in wanted if step[0] != "mask_sources"]
        say("masks by their source: skipped, because this run does not use stage 1")
    if detect is not None and config.detection is not None and "detection" in only:
        trained = detect
        wanted.append(("detection", "detection", "detectors", lambda one: trained(run, config, say, one.set_path)))
    made: list[Record] = []
    for _, kind, title, step in wanted:
        made += carry_out(subject.folder, title, subject.record(kind), partial(step, subject), say)
    if "report" in only:
        say(f"report: {write_report(run, config)}")
    return made


def carry_out(folder: Path, title: str, record: MakeRecord, step: Callable[[], list[Record]], say: Say) -> list[Record]:
    """The step's records (`attempt`), appended to the records file in a folder."""
    say(f"{title} ...")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    found = [replace(r, details=r.details | {AT: at}) for r in attempt(record, step, say)]
    append(folder / RECORDS, found)
    return found


def attempt(record: MakeRecord, step: Callable[[], list[Record]], say: Say) -> list[Record]:
    """The step's records; where it fails, one that says why, so that the other figures still come out.

    That is where the user's data, files or device are to blame; a defect of ours is raised.
    """
    details = {RETRY: True}
    try:
        return step()
    except UserError as error:
        reason, details = str(error), {}
    except (OSError, MemoryError, np.linalg.LinAlgError) as error:
        reason = f"{type(error).__name__}: {error}"
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = f"the device has not enough memory: {str(error).splitlines()[0]}"
    failed = record("all", FAILED, None, 0, reason=reason, details=details)
    say(f"{failed.kind}: could not be had: {reason}")
    return [failed]
