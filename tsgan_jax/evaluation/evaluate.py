"""Evaluation of a trained run: one figure per line in <run>/evaluation/records.jsonl.

A figure that cannot be computed has a record with the reason; the others are still computed.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import jax
import numpy as np

from tsgan_jax.config import Config
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.records import AT, FAILED, RETRY, Kind, Record, append

EvaluationPart = Literal["images", "masks", "mask_sources", "detection", "report"]
PARTS: tuple[EvaluationPart, ...] = get_args(EvaluationPart)

Say = Callable[[str], None]
Detect = Callable[[Path, Config, Say, Path], list[Record]]
"""(run, config, say, set) to the records of detectors; given by the caller, because detection is a separate package."""


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
    from tsgan_jax.evaluation import mask_table, parts
    from tsgan_jax.evaluation.subject import RECORDS, Subject

    subject = Subject(run, config, set_name, say)
    steps: list[tuple[EvaluationPart, Kind, str, Callable[[], list[Record]]]] = [
        ("images", "similarity", "PSNR and SSIM", lambda: parts.evaluate_similarity(subject)),
        ("images", "distance", "feature distances", lambda: parts.evaluate_distances(subject)),
        ("images", "embedding", "t-SNE", lambda: parts.evaluate_embedding(subject)),
        ("masks", "masks", "mask statistics", lambda: parts.evaluate_masks(subject)),
        ("masks", "adherence", "CT against mask", lambda: parts.evaluate_adherence(subject)),
        ("masks", "copies", "copies", lambda: parts.evaluate_copies(subject)),
    ]
    if config.generation.masks == "stylegan":
        steps += [
            ("mask_sources", "mask sources", "masks by their source", lambda: mask_table.measure_sources(subject)),
            ("mask_sources", "mask truncation", "masks by truncation", lambda: mask_table.measure_truncations(subject)),
        ]
    elif "mask_sources" in only:
        say("masks by their source: skipped, because this run does not use stage 1")
    if detect is not None and config.detection is not None:
        trained = detect
        steps.append(("detection", "detection", "detectors", lambda: trained(run, config, say, subject.set_path)))
    made: list[Record] = []
    for part, kind, title, step in steps:
        if part in only:
            say(f"{title} ...")
            at = datetime.now(UTC).isoformat(timespec="seconds")
            found = [replace(r, details=r.details | {AT: at}) for r in attempt(kind, subject.method, step, say)]
            append(subject.folder / RECORDS, found)
            made += found
    if "report" in only:
        from tsgan_jax.evaluation.report import write_report

        say(f"report: {write_report(run, config)}")
    return made


def attempt(kind: Kind, method: str, step: Callable[[], list[Record]], say: Say) -> list[Record]:
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
    say(f"{kind}: could not be had: {reason}")
    return [Record(kind, method, "all", FAILED, None, 0, reason=reason, details=details)]
