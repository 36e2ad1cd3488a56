"""Results as data: every figure is one line of a JSONL file, the source of all tables and the report."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tsgan_jax.errors import UserError

Kind = Literal[
    "similarity",
    "distance",
    "masks",
    "mask sources",
    "mask truncation",
    "adherence",
    "copies",
    "boxes",
    "readers",
    "detectability",
    "embedding",
    "detection",
]

FOLDER, RECORDS, DATA = "evaluation", "records.jsonl", "data.json"
"""Of a run: the folder of its evaluation, and the files there with the figures and with a summary of its data."""
AT = "evaluated"
"""The detail with the time of evaluation, which is equal for all records of one call."""
FAILED = "any"
"""The metric of a record with the reason why a whole kind of figures is missing."""
RETRY = "retry"
"""In the details of such a record if the same inputs may give the figures at another time."""
DETECTION = ("precision", "recall", "mAP50", "mAP50-95")
MINUS_REAL = " - real"
"""Ends the metric of a difference from the same detector trained on real images alone."""


@dataclass(frozen=True)
class Record:
    """One figure.

    kind: what was measured.  method: the evaluated system ("dl_pix2pix", "real", ...).  subject: the part measured
    ("full", "lungs", "nodules"; for masks and boxes the property; for mask sources the source; for mask truncation
    "psi 0.6" or a real source; for readers the reader; for detectability the kind of nodules; for detection the
    training set, such as "real+500").  metric: its printed name ("PSNR", "FD-VGG19 relu3_4", "mAP50").  value: None
    with a `reason` if there is none.  n: number of images or objects.
    interval: 95 %, if there is one.  floor: the same figure of real against real.  fold: the test fold.
    made_from: hashes of its sets, weights and runs; details: further fields.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    kind: Kind
    method: str
    subject: str
    metric: str
    value: float | None
    n: int
    interval: tuple[float, float] | None = None
    floor: float | None = None
    fold: int | None = None
    reason: str | None = None
    made_from: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


MakeRecord = Callable[..., Record]
"""A `partial` of Record with the kind and the method, and what else all records of a measurement have in common."""


def append(path: Path, records: Iterable[Record]) -> None:
    """Append records to a JSONL file in one synced write."""
    lines = "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """All records of a file, oldest first; an incomplete last line is ignored.

    Raises UserError for any other line that is not a record.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if path.is_file() else []
    adapter, records = TypeAdapter(Record), []
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith("\n"):
            continue
        try:
            records.append(adapter.validate_json(line))
        except ValidationError as error:
            reason = "; ".join(" ".join([*map(str, one["loc"]), one["msg"]]) for one in error.errors())
            raise UserError(
                f"{path}, line {number}: not a record of this version ({reason}); move the file away to evaluate again"
            ) from None
    return records


def current(records: list[Record]) -> list[Record]:
    """The newest record of each figure; one without a value only if it is from the newest evaluation of its kind.

    A figure that failed, and later has a value under another name (such as FID instead of FD-...), is then not missing.
    """
    evaluated = {(r.kind, r.method): r.details.get(AT) for r in records}
    latest = {(r.kind, r.method, r.subject, r.metric, r.fold): r for r in records}
    return [r for r in latest.values() if r.value is not None or r.details.get(AT) == evaluated[r.kind, r.method]]


def records_of(run: Path) -> list[Record]:
    """The current records of a run directory."""
    return current(read(run / FOLDER / RECORDS))
