"""Generation of a set: masks from stage 1 or real slices, the gate on the masks, CT from stage 2, files on disk.

Image i of a set depends only on the two networks, the seed and i.  Attempt a at its mask draws image i with the key
`fold_in(mask key, a)`, its CT uses `fold_in(CT key, i)`.  Names, order and masks of a set do not depend on the batch,
the devices or interruptions; for CT see rendering.py.

Three things happen at a time: a thread draws masks and judges them (candidates.py), the device computes CT
(rendering.py), and a pool of threads writes files (writing.py).  Each waits for the next one after a batch or two, so
memory does not grow with the set.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from tsgan_jax.errors import UserError
from tsgan_jax.generation import coco, runs
from tsgan_jax.generation.candidates import Candidate, ahead, batches, candidates
from tsgan_jax.generation.manifest import Record
from tsgan_jax.generation.rendering import batch_size_for, rendered, renderer
from tsgan_jax.generation.requests import Request, real_nodules, requested_masks
from tsgan_jax.generation.runs import fingerprint, versions
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.generation.sources import MaskSource, deformed_masks, real_masks, stylegan_masks
from tsgan_jax.generation.writing import Writer
from tsgan_jax.images import Window, check_mask, to_hu, to_uint8
from tsgan_jax.masks import plausibility
from tsgan_jax.masks.sample import MaskGenerator
from tsgan_jax.train.devices import return_freed_memory
from tsgan_jax.train.learner import stream, without_optimizers
from tsgan_jax.translation.api import Translator
from tsgan_jax.types import Array, Key

if TYPE_CHECKING:
    from tsgan_jax.data.pipeline import SliceSet

PNG_THREADS = min(8, os.cpu_count() or 1)

Progress = Callable[[int, int, int], None]
"""Called with the number of images accepted and rejected so far, and requested."""


@dataclass(frozen=True)
class SetSummary:
    """A finished set."""

    out: Path
    count: int  # images requested
    accepted: int  # images in it
    drawn: int  # masks drawn for them
    reasons: dict[str, int]  # the gate's, with their counts
    objects: int  # nodule boxes
    specks: int  # nodule components too small for a box (A28)
    made: int  # images finished by this call
    damaged: int  # finished images that were made again


def translate(
    translator: Translator[Any],
    state: Any,
    masks: Array | NDArray[np.uint8],
    key: Key,
    window: Window = (-1000.0, 400.0),
    batch_size: int | None = None,
    indices: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """CT of masks: uint8 [n, h, w] to float32 HU [n, h, w].

    key: image i's noise comes from `fold_in(key, i)`.  window: the HU range that the network was trained in.
    batch_size: images at a time; None: as many as fit in the device's memory.  indices: [n], each mask's i; None: 0 to
    n - 1.  Compiled once for a translator, a batch and the masks' size.
    Raises UserError for a mask with anything but the six class codes.
    """
    masks = check_mask(masks, "masks to translate").astype(np.uint8)
    numbers = range(len(masks)) if indices is None else indices
    drawn = [Candidate(index, mask) for index, mask in zip(numbers, masks, strict=True)]
    hu = np.empty(masks.shape, np.float32)
    if drawn:
        size = batch_size_for(translator, state, masks.shape[1], len(drawn), batch_size)
        starts = range(0, len(drawn), size)
        each = (drawn[at : at + size] for at in starts)
        for at, (batch, ct) in zip(starts, rendered(renderer(translator, state, key, size), each), strict=True):
            hu[at : at + len(batch)] = to_hu(ct, window)
    return hu


def set_key(seed: int, name: Literal["masks", "ct"]) -> Key:
    """The key of a set's masks, or of the noise in its CT."""
    return stream(jax.random.key(seed), name)


def generate(
    generator: MaskGenerator | MaskSource,
    translator: Translator[Any],
    translator_state: Any,
    *,
    window: Window,
    pixel_mm: float,
    count: int,
    seed: int,
    out: Path,
    truncation: float = 1.0,
    attempts: int = 50,
    batch_size: int | None = None,
    source: dict[str, Any] | None = None,
    shard: tuple[int, int] = (0, 1),
    parts: Sequence[Path] = (),
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> SetSummary:
    """Make a synthetic set, or finish one that was interrupted.

    generator: of stage 1, or another source of masks (sources.py), which does not use `truncation`.  window: HU shown
    as [-1, 1] in training.  pixel_mm: side of a pixel of the masks.  attempts: masks drawn for an image before it is
    rejected.  batch_size: images at a time; None: as many as fit in memory, which `say` tells.  source: provenance;
    with the settings and the networks' hashes it identifies the set.  shard: (i, n) for the images i, i + n, ... of the
    `count` alone.  parts: finished sets of the same origin, such as shards, whose images are copied, not made.
    Raises UserError for a directory of another set, a full disk (the set can be finished later) and CT that is not
    finite.
    """
    if isinstance(generator, MaskGenerator):
        generator = stylegan_masks(generator, set_key(seed, "masks"), truncation, pixel_mm)
    weights = {} if generator.weights is None else {"masks": fingerprint(generator.weights)}
    made_from = {
        "kind": "synthetic",
        "seed": seed,
        **generator.made_from,
        "attempts": attempts,
        "window": [float(hu) for hu in window],
        "pixel_mm": float(pixel_mm),
        "gate": {name: getattr(plausibility, name.upper()) for name in ("nodule_mm", "lung_share", "body_in_one")},
        "weights": {**weights, "translation": fingerprint(without_optimizers(translator_state))},
        **(source or {}),
    }
    with _opened(out, made_from, coco.SYNTHETIC, count) as (directory, todo):
        for part in parts:
            directory.take(part)
        todo = [index for index in todo if index % shard[1] == shard[0] and index not in directory.records]
        count = len(range(shard[0], count, shard[1]))

        def tell() -> None:
            if progress:
                progress(*directory.counted(), count)

        if todo:
            size = batch_size_for(translator, translator_state, generator.side, len(todo), batch_size, say)
            render = renderer(translator, translator_state, set_key(seed, "ct"), size)
            with ThreadPoolExecutor(PNG_THREADS) as pool, Writer(directory, pool, window, generator, seed) as writer:
                found = candidates(generator, todo, attempts, size, pool)
                with closing(ahead(batches(found, size, writer.reject))) as drawn:
                    for batch, ct in rendered(render, drawn):
                        writer.put(batch, ct)
                        tell()
        tell()
        return_freed_memory()  # of the compilation: then the records of a large set do not raise the peak
        return _summary(directory, count, len(todo))


def generate_run(
    run: Path,
    count: int | None,
    out: Path,
    *,
    seed: int | None = None,
    truncation: float | None = None,
    batch_size: int | None = None,
    request: Request | None = None,
    shard: tuple[int, int] = (0, 1),
    parts: Sequence[Path] = (),
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> SetSummary:
    """`generate` with the networks of a run directory; defaults are the run's `generation.*`.

    Raises UserError for a truncation if the run's masks come from real slices, and for a request that pixels of the
    run's masks cannot hold.
    """
    trained = runs.restore(run, say)
    for stage in trained.unfinished:
        say(f"stage {stage} of {run} is not fully trained; the set uses its newest checkpoint")
    defaults = trained.config.generation
    seed = defaults.seed if seed is None else seed
    return generate(
        masks_of(trained, seed, truncation, request, say),
        trained.translator,
        trained.translator_state,
        window=trained.config.data.hu_window,
        pixel_mm=trained.pixel_mm,
        count=defaults.count if count is None else count,
        seed=seed,
        out=out,
        attempts=defaults.attempts,
        batch_size=batch_size or defaults.batch_size,
        source=trained.source,
        shard=shard,
        parts=parts,
        progress=progress,
        say=say,
    )


def masks_of(
    trained: runs.TrainedRun,
    seed: int,
    truncation: float | None,
    request: Request | None = None,
    say: Callable[[str], None] = print,
) -> MaskSource:
    """The source of a set's masks that `generation.masks` names, stage 1 or training slices, with requested nodules.

    truncation: None for the run's.  Raises UserError for one where stage 1 draws no masks, and for a request that the
    pixels of the run's masks cannot hold.
    """
    if request is not None:
        if note := request.coarse(trained.pixel_mm):
            say(note)
        return requested_masks(masks_of(trained, seed, truncation), request, seed, real_nodules(trained, say))
    if trained.generator is not None:
        chosen = trained.config.generation.truncation if truncation is None else truncation
        return stylegan_masks(trained.generator, set_key(seed, "masks"), chosen, trained.pixel_mm)
    kind = trained.config.generation.masks
    if truncation is not None:
        raise UserError(f"truncation applies only to masks of stage 1; this run's generation.masks is {kind}")
    from tsgan_jax.data.pipeline import load, training_folds

    source = {"deform": deformed_masks, "real": real_masks}[kind]
    return source(load(trained.config.data, training_folds(trained.config.data)), seed)


def export_fold(slices: "SliceSet", window: Window, out: Path, source: dict[str, Any] | None = None) -> SetSummary:
    """Real slices as a set on disk, in the form of a generated set; every nodule is an object.

    slices: CT int16 HU and masks uint8 [n, r, r] with their series and pixel spacing (mm).
    source: provenance, such as the fold and the preparation.
    """
    made_from = {
        "kind": "real",
        "window": [float(hu) for hu in window],
        "slices": fingerprint((slices.ct, slices.mask)),
        **(source or {}),
    }

    def write(index: int) -> None:
        hu = slices.ct[index]
        labelled = SetImage(to_uint8(hu, window), hu, slices.mask[index], float(slices.pixel_mm[index]))
        place = {"seriesuid": slices.seriesuid[index], "slice_index": int(slices.slice_index[index])}
        directory.add(index, f"{place['seriesuid']}_{place['slice_index']:04d}", labelled, **place)

    count = len(slices.ct)
    with _opened(out, made_from, coco.REAL, count) as (directory, todo):
        with ThreadPoolExecutor(PNG_THREADS) as pool:
            list(pool.map(write, todo))
        return _summary(directory, count, len(todo))


@contextmanager
def _opened(
    out: Path, made_from: dict[str, Any], smallest: coco.Smallest, count: int
) -> Iterator[tuple[SetDirectory, list[int]]]:
    """A set of `count` images and the indices that it lacks.  Raises UserError for a larger set and a failing disk."""
    try:
        with SetDirectory(out, made_from, versions(), smallest) as directory:
            held = max(directory.records, default=-1) + 1
            if held > count:
                raise UserError(f"{out}: has {held} images, more than the {count} requested; choose another directory")
            yield directory, [index for index in range(count) if index not in directory.records]
    except OSError as error:
        raise UserError(
            f"{out}: {error}; finished images are kept, run the same command again to finish the set"
        ) from error


def _summary(directory: SetDirectory, count: int, made: int) -> SetSummary:
    manifest = directory.finish()
    records: list[Record] = manifest["images"]
    refusals = [reasons for record in records for reasons in record.get("refused", [])]
    accepted = sum(record["accepted"] for record in records)
    return SetSummary(
        out=directory.out,
        count=count,
        accepted=accepted,
        drawn=accepted + len(refusals),
        reasons=dict(Counter(reason for reasons in refusals for reason in reasons).most_common()),
        objects=manifest["objects"],
        specks=manifest["specks_dropped"],
        made=made,
        damaged=directory.damaged,
    )
