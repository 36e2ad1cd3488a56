"""The kinds of figures of a subject: records for the tables, and arrays for the report's images."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import (
    adherence,
    copies,
    embedding,
    frechet,
    mask_statistics,
    networks,
    similarity,
)
from tsgan_jax.evaluation.copies import LevelAudit, NearestPair
from tsgan_jax.evaluation.features import gather
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.regions import SUBJECTS, View, of_set, of_slices
from tsgan_jax.evaluation.sources import evenly
from tsgan_jax.evaluation.subject import Subject
from tsgan_jax.images import to_uint8

SEGMENTED = 500
"""Number of pairs of each kind to segment, evenly spread; each takes at least 0.1 s."""
SHOWN = 8
"""Number of slices of each kind in the report."""


def evaluate_similarity(subject: Subject) -> list[Record]:
    """PSNR and SSIM of translated real test masks against their real CT (Eq. 12 and 13)."""
    _keep_triplets(subject)
    repeats = subject.config.evaluation.bootstrap
    return similarity.measure_similarity(
        subject.test, subject.translated, subject.method, subject.window, fold=subject.fold, repeats=repeats
    )


def evaluate_distances(subject: Subject) -> list[Record]:
    """Fréchet and kernel distance, precision and recall on the full slice, the lungs, the nodules (Eq. 11)."""
    settings, method, fold = subject.config.evaluation, subject.method, subject.fold
    _keep_generated(subject)
    try:
        network = subject.network
    except UserError as error:
        names = networks.wanted_names(settings)
        return [r for s in SUBJECTS for r in frechet.unavailable(names, method, s, str(error), fold)]
    cache = subject.folder / "cache"
    real, other = (of_slices(slices, subject.window) for slices in (subject.test, subject.training))
    reference = frechet.Reference(
        subject.test_features, subject.test.seriesuid, gather(network, View(other, "full"), cache)
    )
    records = frechet.compare(network, reference, subject.generated_features, method, "full", settings, fold)
    return records + frechet.measure_region_distances(
        network,
        real,
        of_set(subject.generated),
        method=method,
        settings=settings,
        scans=subject.test.seriesuid,
        other=other,
        subjects=("lungs", "nodules"),
        cache=cache,
        fold=fold,
    )


def evaluate_embedding(subject: Subject) -> list[Record]:
    """t-SNE of real test slices and generated ones with its mixing score (Fig. 5)."""
    picture, records = embedding.draw_embedding(
        subject.network,
        subject.test_features.kept,
        subject.generated_features.kept,
        subject.method,
        subject.config.seed,
        subject.fold,
    )
    if picture is not None:
        subject.keep("embedding", points=picture.points, is_real=picture.is_real)
    return records


def evaluate_masks(subject: Subject) -> list[Record]:
    """Anatomy of generated masks against real test masks, diversity, and the gate's acceptance."""
    generated = subject.generated
    records, values = mask_statistics.measure_masks(
        generated.masks(),
        subject.test.mask,
        subject.training.mask,
        mask_statistics.gate_of(generated.manifest),
        generated.pixel_mm,
        subject.method,
        subject.made_from,
        subject.config.evaluation.bootstrap,
        scans=subject.test.seriesuid,
        nearest=subject.config.evaluation.nearest,
    )
    subject.keep("masks", **{f"{side}: {name}": array for side, of in values.items() for name, array in of.items()})
    return records


def evaluate_adherence(subject: Subject) -> list[Record]:
    """Segmentation of generated CT against its masks; real test pairs are the ceiling."""
    test = subject.test
    real = ((test.mask[i], test.ct[i], float(test.pixel_mm[i])) for i in evenly(len(test), SEGMENTED))
    generated = ((one.mask, one.hu, one.pixel_mm) for one in subject.generated.spread(SEGMENTED))
    bootstraps = subject.config.evaluation.bootstrap
    records, contrasts = adherence.measure_adherence(generated, real, subject.method, subject.made_from, bootstraps)
    subject.keep("contrast", **contrasts)
    return records


def evaluate_copies(subject: Subject) -> list[Record]:
    """The nearest training slice of each generated and each held-out slice (T25)."""
    found = copies.audit(subject.generated, subject.training, subject.test, subject.window)
    for audit in found:
        _keep_copies(subject, audit)
    return copies.records(found, subject.method, subject.made_from, subject.config.evaluation.bootstrap)


def _keep_triplets(subject: Subject) -> None:
    """Store a few real masks with their real and their translated CT."""
    chosen = evenly(len(subject.test), SHOWN)
    shown = {"real": subject.test.ct[chosen], "generated": subject.translated[chosen]}
    views = {name: to_uint8(hu, subject.window) for name, hu in shown.items()}
    subject.keep("translated", mask=subject.test.mask[chosen], **views)


def _keep_generated(subject: Subject) -> None:
    """Store a few slices of the set."""
    slices = list(subject.generated.spread(SHOWN))
    views = np.stack([to_uint8(one.hu, subject.window) for one in slices])
    subject.keep("generated", mask=np.stack([one.mask for one in slices]), generated=views)


def _keep_copies(subject: Subject, audit: LevelAudit) -> None:
    """Store the distances of one level, and its nearest pairs as images."""
    indices = [pair.match.index for pair in audit.pairs]
    subject.keep(
        f"copies_{audit.level}",
        distances=audit.distances,
        held_out=audit.held_out,
        threshold=audit.threshold,
        generated=to_uint8(np.stack([pair.generated.hu for pair in audit.pairs]), subject.window),
        generated_mask=np.stack([pair.generated.mask for pair in audit.pairs]),
        training=to_uint8(subject.training.ct[indices], subject.window),
        training_mask=subject.training.mask[indices],
        about=np.array([json.dumps(_about(subject, pair)) for pair in audit.pairs]),
    )


def _about(subject: Subject, pair: NearestPair) -> dict[str, Any]:
    """Fields for the caption of a pair."""
    place = pair.match.index
    return {
        "name": pair.name,
        "flagged": pair.flagged,
        "seriesuid": subject.training.seriesuid[place],
        "slice_index": int(subject.training.slice_index[place]),
        **asdict(pair.match),
    }
