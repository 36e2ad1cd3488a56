"""The input of the report: files of the run, without new computations."""

import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tsgan_jax.config import Config
from tsgan_jax.evaluation.mask_table import PSIS, REAL_TRAINING, ROWS, SWEPT, SWEPT_ROWS, psi_name, table_of
from tsgan_jax.evaluation.records import DATA, FAILED, FOLDER, MINUS_REAL, Kind, Record, records_of
from tsgan_jax.files import read_object
from tsgan_jax.generation.manifest import manifest_path, read_manifest

Scores = dict[tuple[str, str, str], dict[str, list[Record]]]
"""(detector, training set, source of synthetic images) to the records of each metric."""


@dataclass(frozen=True)
class Material:
    """The contents of a run directory for the report."""

    run: Path
    config: Config

    @cached_property
    def records(self) -> list[Record]:
        """The newest record of each figure."""
        return records_of(self.run)

    def figures(self, kind: Kind) -> dict[tuple[str, str], Record]:
        """(metric, subject) to the record of a figure of this kind."""
        return {(r.metric, r.subject): r for r in self.records if r.kind == kind and r.metric != FAILED}

    def value(self, kind: Kind, subject: str, metric: str) -> Record | None:
        """The newest record of one figure; None without a value."""
        found = self.figures(kind).get((metric, subject))
        return found if found is not None and found.value is not None else None

    @property
    def distance(self) -> Record | None:
        """The Fréchet distance of the full slice, whatever its network."""
        found = [r for (metric, subject), r in self.figures("distance").items() if subject == "full"]
        return next((r for r in found if r.metric.startswith(("FID", "FD-")) and r.value is not None), None)

    def arrays(self, name: str) -> Mapping[str, np.ndarray] | None:
        """The arrays that a part of the evaluation stored for its images; None if they are missing or damaged."""
        try:
            with np.load(self.run / FOLDER / f"{name}.npz", allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, zipfile.BadZipFile):
            return None

    def log(self, stage: str) -> list[dict[str, Any]]:
        """The rows of a stage's log.jsonl; an incomplete line is ignored."""
        path, rows = self.run / stage / "log.jsonl", []
        for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
            with suppress(ValueError, RecursionError):
                rows.append(json.loads(line))
        return rows

    def manifest(self, stage: str) -> dict[str, Any]:
        """The manifest of a stage, {} if there is none."""
        return _json(self.run / stage / "manifest.json")

    @property
    def generated(self) -> dict[str, Any]:
        """The manifest of the run's set, {} if there is none."""
        path = self.run / "sets" / "synthetic"
        return read_manifest(path) if manifest_path(path) else {}

    @property
    def prepared(self) -> dict[str, Any]:
        """The summary of the prepared slices, {} if the run was not evaluated."""
        return _json(self.run / FOLDER / DATA)

    @property
    def networks(self) -> list[tuple[str, str, str]]:
        """Name, file and hash of the feature networks."""
        made = [r.made_from for r in self.figures("distance").values() if r.value is not None]
        return sorted({(one["network"], one["weights"], one["weights_sha256"]) for one in made})

    @property
    def missing(self) -> dict[str, list[str]]:
        """Reasons to the names of the figures that are missing for them."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for r in self.records:
            if r.value is None:
                name = r.kind if r.metric == FAILED else f"{r.metric} ({r.subject})"
                found[r.reason or "no reason was recorded"][name] = None
        return {reason: list(names) for reason, names in found.items()}

    @property
    def sources(self) -> dict[str, Any]:
        """Masks by their source.  counts: source to its masks; rows: (figure, unit, values), NaN for no value."""
        found = self.figures("mask sources")
        table = table_of(found.values())
        counts = {one.subject: one.n for one in found.values()}
        rows = [(name, ROWS[name], list(table.loc[name])) for name in table.index]
        return {"counts": {name: counts[name] for name in table.columns}, "rows": rows}

    @property
    def truncations(self) -> dict[str, Any]:
        """Stage 1's masks by truncation.  series: figure to (psi, share); real: figure to that of training masks."""
        values = {place: r.value for place, r in self.figures("mask truncation").items() if r.value is not None}
        series: dict[str, list[tuple[float, float]]] = {}
        for name, psi in product(SWEPT_ROWS, PSIS):
            if (name, psi_name(psi)) in values:
                series.setdefault(name, []).append((psi, values[name, psi_name(psi)]))
        real = {name: values[name, REAL_TRAINING] for name in SWEPT_ROWS if (name, REAL_TRAINING) in values}
        return {"series": series, "real": real, "masks": SWEPT}

    @property
    def detection(self) -> dict[str, Any]:
        """Scores of detectors, their differences from real images alone, gains for the plots, and warnings."""
        records = [r for r in self.records if r.kind == "detection" and r.metric != FAILED]
        if not records:
            return {}
        cautions = [r.details[key] for r in records for key in ("too_small", "too_few") if key in r.details]
        scores: tuple[Scores, Scores] = (defaultdict(dict), defaultdict(dict))
        for r in records:
            if r.value is not None:
                rows = scores[r.metric.endswith(MINUS_REAL)]
                row = rows[r.method, r.subject, str(r.details.get("system", ""))]
                row.setdefault(r.metric, []).append(r)
        gains = {metric: series for metric in ("mAP50", "recall") if (series := _gains(scores[0], metric))}
        return {"cautions": dict.fromkeys(cautions), "figures": scores[0], "differences": scores[1], "gains": gains}


def _json(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _gains(scores: Scores, metric: str) -> dict[str, list[tuple[int, float, float]]]:
    """Detector to (synthetic images added, mean, spread) of one metric, where there is a schedule."""
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (detector, subject, _), found in scores.items():
        scheduled = re.fullmatch(r"real(?:\+(\d+))?", subject)
        if scheduled and metric in found:
            values[detector][int(scheduled[1] or 0)] += [r.value for r in found[metric] if r.value is not None]
    return {
        detector: [(added, float(np.mean(some)), float(np.std(some))) for added, some in counts.items()]
        for detector, counts in values.items()
        if len(counts) > 1
    }
