"""The input of the report: files of the run, without new computations."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tsgan_jax.config import Config
from tsgan_jax.evaluation.records import Kind, Record, current, read
from tsgan_jax.files import read_json

FOLDER = "evaluation"


@dataclass(frozen=True)
class Material:
    """The contents of a run directory for the report."""

    run: Path
    config: Config

    @cached_property
    def records(self) -> list[Record]:
        """The newest record of each figure."""
        return current(read(self.run / FOLDER / "records.jsonl"))

    def of(self, *kinds: Kind) -> list[Record]:
        """Records of some kinds, for the run's system."""
        return [record for record in self.records if record.kind in kinds]

    def value(self, kind: Kind, subject: str, metric: str) -> Record | None:
        """The newest record of one figure, with a value."""
        found = [r for r in self.of(kind) if (r.subject, r.metric) == (subject, metric) and r.value is not None]
        return found[-1] if found else None

    def arrays(self, name: str) -> Mapping[str, np.ndarray] | None:
        """The arrays that a part of the evaluation stored for its images; None if it has not been run."""
        path = self.run / FOLDER / f"{name}.npz"
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            return None

    def log(self, stage: str) -> list[dict[str, Any]]:
        """The rows of a stage's log.jsonl; an incomplete line is ignored."""
        path = self.run / stage / "log.jsonl"
        rows = []
        for line in path.read_text().splitlines() if path.is_file() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
        return rows

    def manifest(self, *place: str) -> dict[str, Any]:
        """A manifest of the run, {} if there is none."""
        path = self.run.joinpath(*place)
        return read_json(path) if path.is_file() else {}
