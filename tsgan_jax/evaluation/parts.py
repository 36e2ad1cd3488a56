"""The kinds of figures of a subject: records for the tables, and arrays for the report's images."""

import json
from dataclasses import asdict

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
from tsgan_jax.evaluation.copies import LevelAudit
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.regions import REGIONS, owners
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
    names, records = networks.wanted_names(settings), []
    for region in REGIONS:
        try:
            names = subject.network.names
            records += frechet.measure_distances(
                subject.network,
                subject.features("test", region),
                subject.features("generated", region),
                method=method,
                settings=settings,
                subject=region,
                scans=owners(subject.pairs("test"), region, subject.test.seriesuid),
                other=subject.features("training", region),
                fold=fold,
            )
        except UserError as error:
            records += frechet.unavailable(names, method, region, str(error), fold)
    return records


def evaluate_embedding(subject: Subject) -> list[Record]:
    """t-SNE of real test slices and generated ones with its mixing score (Fig. 5)."""
    test, generated = (subject.features(source).rows for source in ("test", "generated"))
    arrays, records = embedding.measure_mixing(
        subject.network, test, generated, subject.method, subject.config.seed, subject.fold
    )
    if arrays:
        subject.keep("embedding", **arrays)
    return records


def evaluate_masks(subject: Subject) -> list[Record]:
    """Anatomy of generated masks against real test masks, diversity, and the gate's acceptance."""
    generated = subject.generated
    records, values = mask_statistics.measure_masks(
        generated.masks(),
        len(generated),
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
    test, places = subject.test, evenly(len(subject.test), SEGMENTED)
    real = ((test.mask[i], test.ct[i], float(test.pixel_mm[i])) for i in places)
    generated = ((one.mask, one.hu, one.pixel_mm) for one in subject.generated.spread(SEGMENTED))
    records, contrasts = adherence.measure_adherence(
        generated,
        real,
        subject.method,
        subject.made_from,
        subject.config.evaluation.bootstrap,
        scans=[test.seriesuid[i] for i in places],
    )
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
    """Store the distances of one level, and its nearest pairs as images with fields for their captions."""
    slices, training = [one for one, _ in audit.pairs], subject.training
    indices = [match.index for _, match in audit.pairs]
    about = [
        {
            "name": one.name,
            "flagged": match.distance < audit.threshold,
            "seriesuid": training.seriesuid[match.index],
            "slice_index": int(training.slice_index[match.index]),
            **asdict(match),
        }
        for one, match in audit.pairs
    ]
    subject.keep(
        f"copies_{audit.level}",
        distances=audit.distances,
        held_out=audit.held_out,
        threshold=audit.threshold,
        generated=to_uint8(np.stack([one.hu for one in slices]), subject.window),
        generated_mask=np.stack([one.mask for one in slices]),
        training=to_uint8(training.ct[indices], subject.window),
        training_mask=training.mask[indices],
        about=np.array([json.dumps(fields) for fields in about]),
    )
