"""Results as data: every figure is one line of a JSONL file, from which all tables and the report are drawn."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tsgan_jax.errors import UserError

Kind = Literal[
    "similarity",
    "distance",
    "masks",
    "mask sources",
    "mask truncation",
    "adherence",
    "copies",
    "embedding",
    "detection",
]

AT = "evaluated"
"""The detail of a record that says when its kind was evaluated; one call, one time."""


@dataclass(frozen=True)
class Record:
    """One figure.

    kind: what was measured.  method: the system whose output it is ("dl_pix2pix", "real", ...).  subject: on what
    ("full", "lungs", "nodules"; for masks the property; for mask sources the source; for mask truncation "psi 0.5" or
    a real source; for detection the training set, such as "real+500").  metric: its name as it is printed ("PSNR",
    "FD-VGG19 relu3_4", "mAP50").  value: None where it could not be had, with `reason`.  n: images or objects it rests
    on.  interval: 95 %, where there is one.  floor: the same figure of real against real.  fold: the test fold.
    made_from: hashes of the sets, weights and runs behind it; details: whatever else a reader needs.
    """

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


def append(path: Path, records: Iterable[Record]) -> None:
    """Add records to a JSONL file; all of them in one write, synced."""
    lines = "".join(json.dumps(asdict(record), allow_nan=False) + "\n" for record in records)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """All records of a file, oldest first; a last line cut short by a crash is passed over.

    Raises UserError for any other line that is no record.
    """
    if not path.is_file():
        return []
    known = {f.name for f in fields(Record)}
    lines = path.read_text().splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith("\n"):
            continue
        try:
            values = json.loads(line)
            if not isinstance(values, dict) or values.keys() - known:
                raise ValueError("not a record of this version")
            if values.get("interval") is not None:
                values["interval"] = tuple(values["interval"])
            records.append(Record(**values))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}, line {number}: {error}; move the file away to evaluate anew") from error
    return records


def latest(records: Iterable[Record]) -> list[Record]:
    """The newest record of each figure: of the same kind, method, subject, metric and fold."""
    return list({(r.kind, r.method, r.subject, r.metric, r.fold): r for r in records}.values())


def current(records: list[Record]) -> list[Record]:
    """The newest record of each figure; one without a value counts only if the newest evaluation of its kind gave it.

    So a figure that failed, and then came out under another name (FID instead of a stand-in), is not told as missing.
    """
    newest = {(r.kind, r.method): r.details.get(AT) for r in records}
    return [r for r in latest(records) if r.value is not None or r.details.get(AT) == newest[r.kind, r.method]]
