"""The kinds of figures of a subject: records for the tables, and arrays for the report's images."""

import json
from dataclasses import asdict

import numpy as np

from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import adherence, copies, distances, embedding, mask_statistics, networks, similarity
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.regions import REGIONS, Region, owners
from tsgan_jax.evaluation.sources import evenly
from tsgan_jax.evaluation.subject import Source, Subject
from tsgan_jax.images import to_uint8

SEGMENTED = 500
"""Number of pairs of each kind to segment, evenly spread; each takes at least 0.1 s."""
SHOWN = 8
"""Number of slices of each kind in the report."""
OF_TEST_MASKS = "of test masks"
"""Ends the subject of distances of CT that the translator made from real test masks."""


def evaluate_similarity(subject: Subject) -> list[Record]:
    """PSNR and SSIM of translated real test masks against their real CT (Eq. 12 and 13)."""
    test, window = subject.test, subject.window
    chosen = evenly(len(test), SHOWN)
    real, generated = (to_uint8(hu[chosen], window) for hu in (test.ct, subject.translated))
    subject.keep("translated", mask=test.mask[chosen], real=real, generated=generated)
    record = subject.record("similarity", fold=subject.fold)
    return similarity.measure_similarity(record, test, subject.translated, window, subject.config.evaluation.bootstrap)


def evaluate_distances(subject: Subject) -> list[Record]:
    """Fréchet and kernel distance, precision and recall on the full slice, the lungs, the nodules (Eq. 11).

    Of the set, and of the CT of real test masks: what of the set's distance is the translator's, what the masks'.
    """
    shown = list(subject.generated.spread(SHOWN))
    images = np.stack([to_uint8(one.hu, subject.window) for one in shown])
    subject.keep("generated", mask=np.stack([one.mask for one in shown]), generated=images)
    return [
        record
        for source in ("generated", "translated")
        for region in REGIONS
        for record in _distances(subject, source, region)
    ]


def _distances(subject: Subject, source: Source, region: Region) -> list[Record]:
    """Distances of one source of CT, in one region; records with the reason where there are no features."""
    name = region if source == "generated" else f"{region}, {OF_TEST_MASKS}"
    record, settings = subject.record("distance", subject=name, fold=subject.fold), subject.config.evaluation
    names = networks.wanted_names(settings)
    try:
        names = subject.network.names
        real, generated, other = (subject.features(one, region) for one in ("test", source, "training"))
        scans = owners(subject.pairs("test"), region, subject.test.seriesuid)
        return distances.measure_distances(record, subject.network, real, generated, other, scans, settings)
    except UserError as error:
        return [record(metric=name, value=None, n=0, reason=str(error)) for name in names]


def evaluate_embedding(subject: Subject) -> list[Record]:
    """t-SNE of real test slices and generated ones with its mixing score (Fig. 5)."""
    test, generated = (subject.features(source).rows for source in ("test", "generated"))
    record = subject.record("embedding", fold=subject.fold)
    arrays, score = embedding.measure_mixing(record, subject.network, test, generated, subject.config.seed)
    if arrays:
        subject.keep("embedding", **arrays)
    return [score]


def evaluate_masks(subject: Subject) -> list[Record]:
    """Anatomy of generated masks against real test masks, diversity, and the gate's acceptance."""
    generated = subject.generated
    records, values = mask_statistics.measure_masks(
        subject.record("masks", made_from=subject.made_from),
        generated.masks(),
        len(generated),
        subject.test.mask,
        subject.training.mask,
        mask_statistics.gate_of(generated.manifest),
        generated.pixel_mm,
        subject.config.evaluation,
        subject.test.seriesuid,
    )
    subject.keep("masks", **{f"{side}: {name}": array for side, of in values.items() for name, array in of.items()})
    return records


def evaluate_adherence(subject: Subject) -> list[Record]:
    """Segmentation of generated CT against its masks; real test pairs are the ceiling."""
    test, places = subject.test, evenly(len(subject.test), SEGMENTED)
    records, contrasts = adherence.measure_adherence(
        subject.record("adherence", made_from=subject.made_from),
        ((one.mask, one.hu, one.pixel_mm) for one in subject.generated.spread(SEGMENTED)),
        ((test.mask[i], test.ct[i], float(test.pixel_mm[i])) for i in places),
        subject.config.evaluation.bootstrap,
        [test.seriesuid[i] for i in places],
    )
    subject.keep("contrast", **contrasts)
    return records


def evaluate_copies(subject: Subject) -> list[Record]:
    """The nearest training slice of each generated and each held-out slice (T25)."""
    audits = copies.audit(subject.generated, subject.training, subject.test, subject.window)
    for audit in audits:
        _keep_copies(subject, audit)
    record = subject.record("copies", made_from=subject.made_from)
    return copies.records(record, audits, subject.config.evaluation.bootstrap)


def _keep_copies(subject: Subject, audit: copies.LevelAudit) -> None:
    """Store the distances of one level, and its nearest pairs as images with fields for their captions."""
    slices, training = [one for one, _ in audit.pairs], subject.training
    indices = [match.index for _, match in audit.pairs]
    about = [
        {
            "name": one.name,
            "flagged": match.distance < audit.threshold,
            "seriesuid": training.seriesuid[match.index],
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
