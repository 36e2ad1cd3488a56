"""Can a slice be told from a real one?  A page for readers (visual Turing test), and an automatic reader.

The page has held-out real and synthetic slices, mixed, in one window and size; which are real is in a file of its own.
The automatic reader is a logistic regression on the power spectrum by frequency (Durall et al. 2020) and the histogram
of grey values; it is tested on slices of scans that it was not trained on.  .5 is perfect for both.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsgan_jax.config.reading import config_hash
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.intervals import bootstrap, by_scan, wilson
from tsgan_jax.evaluation.records import FOLDER, MakeRecord, Record
from tsgan_jax.evaluation.sources import evenly
from tsgan_jax.evaluation.subject import Subject
from tsgan_jax.files import read_json, read_object, write_json
from tsgan_jax.images import to_uint8

REAL, SYNTHETIC = "real", "synthetic"
PLACE = "readers"
"""Folder of pages and their keys in <run>/evaluation."""
SLICES = 60
"""Slices of a page, half of them real."""
MOST = 1000
"""Slices of each kind for the automatic reader, evenly spread."""
BANDS, GREYS = 32, 16
"""Bands of frequency, and bins of the histogram."""

Rows = NDArray[np.float64]


def write_reading(subject: Subject, half: int = SLICES // 2) -> Path:
    """A page of `half` real test slices and as many synthetic ones, fewer if there are not so many, and its key.

    Both are named after the page's content, so that a page of another set replaces neither.  Returns the page's path.
    """
    from tsgan_jax.evaluation.report.page import write_page

    half = min(half, len(subject.test), len(subject.generated))
    window = subject.window
    images = [to_uint8(subject.test.ct[place], window) for place in evenly(len(subject.test), half)]
    names = [subject.test.seriesuid[place] for place in evenly(len(subject.test), half)]
    for one in subject.generated.spread(half):
        images.append(to_uint8(one.hu, window))
        names.append(one.name)
    order = np.random.default_rng(subject.config.seed).permutation(len(images))
    kinds = [REAL if place < len(names) - half else SYNTHETIC for place in order]
    page = config_hash(subject.made_from, order.tolist())
    folder = subject.folder / PLACE
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{page}.html"
    write_page(path, "reading.html.j2", page=page, images=[images[place] for place in order])
    key = {"page": page, "system": subject.config.system, "kinds": kinds, "names": [names[place] for place in order]}
    write_json(folder / f"{page}.key.json", key, indent=1)
    return path


def score(run: Path, answers: Path) -> list[Record]:
    """Records of one reader's answers to a page of the run: accuracy, and the recognised shares of both kinds.

    answers: the file that the page saved.  Slices without an answer do not count.  Raises UserError for a file that is
    not such, or is of a page that the run does not have.
    """
    given = read_json(answers)
    if not isinstance(given, dict) or not {"page", "reader", "answers"} <= given.keys():
        raise UserError(f"{answers}: not a file that a page of bin/evaluate --only readers saved")
    page, reader, said = (given[name] for name in ("page", "reader", "answers"))
    folder = run / FOLDER / PLACE
    known = {path.name.split(".")[0] for path in folder.glob("*.key.json")}
    if not isinstance(page, str) or page not in known:
        raise UserError(f"{answers}: of the page {page!r}, whose key is not in {folder}; give --run of that page's run")
    key = read_object(folder / f"{page}.key.json", kinds=list, system=str)
    kinds = key["kinds"]
    if not isinstance(reader, str) or not reader.strip() or len(reader) > 60 or not reader.isprintable():
        raise UserError(f"{answers}: reader is {reader!r}; expected a name of 1 to 60 characters")
    if not isinstance(said, list) or len(said) != len(kinds) or any(x not in (REAL, SYNTHETIC, None) for x in said):
        raise UserError(f"{answers}: expected {len(kinds)} answers, each 'real', 'synthetic' or null")
    pairs = [(answer == kind, kind) for answer, kind in zip(said, kinds, strict=True) if answer is not None]
    record = partial(Record, "readers", key["system"], f"reader {reader.strip()}", made_from={"page": page})
    out = []
    for metric, counted in (
        ("accuracy", (REAL, SYNTHETIC)),
        ("sensitivity to synthetic", (SYNTHETIC,)),
        ("specificity", (REAL,)),
    ):
        right = [correct for correct, kind in pairs if kind in counted]
        n = len(right)
        value, reason = (sum(right) / n, None) if n else (None, "no slice was judged")
        left = {"not_judged": len(kinds) - len(pairs)}
        out.append(record(metric, value, n, wilson(sum(right), n), reason=reason, details=left))
    return out


def automatic(subject: Subject) -> list[Record]:
    """The automatic reader's accuracy on generated and real test slices, and on training and real test slices."""
    test, training, window = subject.test, subject.training, subject.window
    count = min(MOST, len(subject.generated))
    real, others = evenly(len(test), MOST), evenly(len(training), count)
    rows = traits(to_uint8(test.ct[place], window) for place in real)
    other = traits(to_uint8(training.ct[place], window) for place in others)
    made = traits(to_uint8(one.hu, window) for one in subject.generated.spread(count))
    record = subject.record("readers", subject="automatic", fold=subject.fold, made_from=subject.made_from)
    scans, other_scans = [test.seriesuid[place] for place in real], [training.seriesuid[place] for place in others]
    return [measure_automatic(record, rows, made, other, scans, other_scans, subject.config.evaluation.bootstrap)]


def measure_automatic(
    record: MakeRecord,
    real: Rows,
    generated: Rows,
    other: Rows,
    scans: Sequence[str],
    other_scans: Sequence[str],
    times: int,
) -> Record:
    """The accuracy, as the mean of both kinds' shares, so that their numbers do not matter; chance is .5.

    real, generated, other: `traits` of real test slices, of generated slices, and of other real slices for the floor.
    scans: the series of real and of other slices.
    """
    made = [str(number) for number in range(len(generated))]
    record = partial(record, metric="accuracy", n=len(real) + len(generated))
    if min(len(set(scans)), len(made)) < 2:
        return record(value=None, reason="the automatic reader needs two or more test scans and generated slices")
    right = _crossed(real, generated, scans, made)
    groups = by_scan(right[0], scans), by_scan(right[1])
    floor = None
    if len(set(other_scans)) > 1:
        floor = _balanced(*_crossed(real, other, scans, other_scans))
    shares = {"specificity": float(right[0].mean()), "sensitivity": float(right[1].mean())}
    details = {"n_real": len(real), "floor_n": [len(real), len(other)], **shares}
    interval, units = bootstrap(_balanced, *groups, times=times), sum(map(len, groups))
    if interval and interval[0] == interval[1]:  # all right or all wrong: resampling shows no spread
        interval = wilson(round(interval[0] * units), units)
    return record(value=_balanced(*right), interval=interval, floor=floor, details=details)


def traits(images: Iterable[NDArray[np.uint8]]) -> Rows:
    """Of each grey image [h, w]: log power in bands of frequency, and its histogram, [n, BANDS + GREYS]."""
    rows = []
    for image in images:
        window = np.outer(*(np.hanning(side + 2)[1:-1] for side in image.shape))
        power = np.abs(fft.fft2((image / 255.0 - image.mean() / 255.0) * window)) ** 2
        radius = np.hypot(*np.meshgrid(*(fft.fftfreq(side) for side in image.shape), indexing="ij"))
        band = np.minimum((radius * 2 * BANDS).astype(int), BANDS - 1)  # the corners are in the highest
        means = ndimage.mean(power, band, np.unique(band))
        bands = np.interp(np.arange(BANDS), np.unique(band), np.log(means + 1e-9))  # small images lack some
        rows.append(np.concatenate([bands, np.histogram(image, GREYS, (0, 256))[0] / image.size]))
    return np.array(rows).reshape(-1, BANDS + GREYS)


def _crossed(
    real: Rows, others: Rows, scans: Sequence[str], other_scans: Sequence[str]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each real and each other slice is recognised by the reader trained on the other half of scans."""
    rows, is_real = np.concatenate([real, others]), np.arange(len(real) + len(others)) < len(real)
    half = np.concatenate([_half(scans), _half(other_scans)])
    right = np.zeros(len(rows), bool)
    for part in (half, ~half):
        reader = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        right[part] = reader.fit(rows[~part], is_real[~part]).predict(rows[part]) == is_real[part]
    return right[is_real], right[~is_real]


def _half(scans: Sequence[str]) -> NDArray[np.bool_]:
    """Whether a slice is of the second half of scans: every other one, in random order."""
    names, number = np.unique(scans, return_inverse=True)
    return np.asarray(np.random.default_rng(0).permutation(len(names))[number] % 2 == 1)


def _balanced(real: NDArray[Any], others: NDArray[Any]) -> float:
    return float((real.mean() + others.mean()) / 2)


def read(subject: Subject) -> list[Record]:
    """The page is written, and the automatic reader judges."""
    subject.say(f"slices to be judged real or not: {write_reading(subject)}")
    return automatic(subject)
