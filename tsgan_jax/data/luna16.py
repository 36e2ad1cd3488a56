"""Preparation of a LUNA16 tree, or of the phantom, once: slices on disk, and the verdict of every scan.

The dataset's name depends on everything that decides its content: the tree, the resolution and the source of the
preparing code.  A changed tree or recipe is therefore prepared again.
"""

import glob
import hashlib
import io
import os
import shutil
import time
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tsgan_jax.config import DataConfig
from tsgan_jax.data.dataset import Luna16Slices, damage_named, tfds
from tsgan_jax.data.preparation import ScanProgress, prepare_cases
from tsgan_jax.data.slices import NUM_FOLDS, StoredSlice
from tsgan_jax.data.verify import LUNG_MASKS, ScanVerdict, find_cases
from tsgan_jax.errors import UserError
from tsgan_jax.files import locked, write_json
from tsgan_jax.phantom import write_tree

_SOURCE = Path(__file__).resolve().parent
RECORD = "verify.json"
MAX_TEXT_BYTES = 1 << 24

_RECIPE = (
    *("dataset.py", "luna16.py", "lungs.py", "metaimage.py", "nodules.py", "preparation.py", "slices.py", "verify.py"),
    *("volume.py", "../components.py", "../errors.py", "../labels.py", "../workers.py"),
)
"""The source that decides what is stored."""


@dataclass(frozen=True)
class PreparationSummary:
    """The result of one preparation.

    folds: slices in each fold; nodules: drawn in them; subpixel: those smaller than one stored pixel.
    dropped: annotations that could not be used; unknown: annotations of scans that are not in the tree.
    """

    resolution: int
    scans: int
    refused: int
    warned: int
    slices: int
    nodules: int
    subpixel: int
    dropped: int
    unknown: int
    lungs_given: int
    lungs_segmented: int
    folds: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Record:
    """Content of verify.json: the verdict of every scan when the slices were prepared, and annotations not used."""

    summary: PreparationSummary
    scans: tuple[ScanVerdict, ...]
    annotations_dropped: tuple[str, ...]
    annotations_of_unknown_scans: int


@dataclass(frozen=True)
class Prepared:
    """Prepared slices.  directory: holds the dataset and verify.json; fresh: whether this call made them."""

    directory: Path
    record: Record
    fresh: bool

    @property
    def summary(self) -> PreparationSummary:
        """The counts."""
        return self.record.summary


def prepare(
    config: DataConfig, *, workers: int | None = None, progress: ScanProgress | None = None, split: bool = True
) -> Prepared:
    """Prepare the slices of the tree on disk, or find those of an earlier call.

    config.root None: the phantom is written first.  workers: processes, None for one per core.
    Raises UserError when the tree has no usable slice or, unless `split` is False, none for training or for test.
    """
    config.prepared.mkdir(parents=True, exist_ok=True)
    busy = f"{config.prepared}: another process is preparing slices there; waiting until it is done"
    with locked(config.prepared / ".lock", busy, wait=True):
        root = _root(config)
        if config.root is None and config.phantom is not None:
            write_tree(root, config.phantom)
        directory = _directory(config, root)
        record = _record(directory)
        fresh = record is None or _refused_changed(root, directory, record)
        if record is None or fresh:
            record = _prepare(config, root, directory, workers, progress)
    if split:
        check_split(config, record.summary)
    return Prepared(directory, record, fresh)


def open_prepared(config: DataConfig) -> Luna16Slices:
    """The dataset of a config, for reading.  Raises UserError when it has not been prepared or is damaged."""
    root = _root(config)
    directory = _directory(config, root)
    if _record(directory) is None:
        raise UserError(f"{directory}: the slices of {root} are not prepared, or it has changed since; run bin/prepare")
    with damage_named(config.prepared):
        return Luna16Slices(data_dir=config.prepared, key=directory.name, resolution=config.resolution)


def _prepare(
    config: DataConfig, root: Path, directory: Path, workers: int | None, progress: ScanProgress | None
) -> Record:
    """Read the tree, then write verify.json and the dataset; files of an interrupted run are removed first."""
    started = time.monotonic()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    tree = find_cases(root)
    results = prepare_cases(tree, config.resolution, workers, progress)
    verdicts = tuple(verdict for verdict, _ in results)
    folds: dict[int, list[StoredSlice]] = {}
    for verdict, stored in results:
        if stored:
            folds.setdefault(verdict.fold, []).extend(stored)
    nodules = [nodule for stored in folds.values() for one in stored for nodule in one.nodules]
    summary = PreparationSummary(
        resolution=config.resolution,
        scans=len(verdicts),
        refused=sum(v.status == "refused" for v in verdicts),
        warned=sum(v.status == "warning" for v in verdicts),
        slices=sum(map(len, folds.values())),
        nodules=len(nodules),
        subpixel=sum(nodule.area < 1 for nodule in nodules),
        dropped=len(tree.dropped) + sum(len(v.dropped) for v in verdicts),
        unknown=tree.unknown,
        lungs_given=sum(v.lungs == "seg-lungs" and v.slices > 0 for v in verdicts),
        lungs_segmented=sum(v.lungs == "segmented" and v.slices > 0 for v in verdicts),
        folds=tuple(len(folds.get(fold, ())) for fold in range(NUM_FOLDS)),
        seconds=round(time.monotonic() - started, 1),
    )
    record = Record(summary, verdicts, tree.dropped, tree.unknown)
    write_json(directory / RECORD, asdict(record), indent=1)
    if not summary.slices:
        first = next((f"; the first refusal: {v.reasons[0]}" for v in verdicts if v.status == "refused"), "")
        raise UserError(
            f"{root}: no usable slice: {summary.refused} of {summary.scans} scans are refused and "
            f"{sum(v.nodules for v in verdicts)} nodules usable, {tree.unknown} annotations are of scans that are not "
            f"in the tree{first}; every verdict is in {directory / RECORD}"
        )
    builder = Luna16Slices(data_dir=config.prepared, key=directory.name, resolution=config.resolution, slices=folds)
    with redirect_stdout(io.StringIO()):  # TFDS announces a download that does not happen
        builder.download_and_prepare(
            download_dir=directory / "downloads", download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    shutil.rmtree(directory / "downloads", ignore_errors=True)
    return record


def check_split(config: DataConfig, summary: PreparationSummary) -> None:
    """Raise UserError unless training and test folds have slices."""
    filled = {fold for fold, count in enumerate(summary.folds) if count}
    counts = ", ".join(f"fold {fold}: {count}" for fold, count in enumerate(summary.folds))
    if empty := set(config.test_folds) - filled:
        raise UserError(f"data.test_fold: {min(empty)} is empty ({counts}); choose one of {sorted(filled)}")
    if filled <= set(config.test_folds):
        raise UserError(f"data.root: all slices are in the test fold ({counts}); training needs scans in other folds")


def _root(config: DataConfig) -> Path:
    """The tree to read; without `config.root` the phantom's, its name a hash of the phantom's settings and source."""
    if config.root is not None:
        return config.root
    if config.phantom is None:
        raise UserError("data.root: missing; give the folder that holds subset0 .. subset9, or set data.phantom")
    digest = hashlib.sha256(config.phantom.model_dump_json().encode())
    for path in sorted((_SOURCE.parent / "phantom").glob("*.py")):
        digest.update(path.read_bytes())
    return config.prepared / f"phantom-{digest.hexdigest()[:12]}"


def _directory(config: DataConfig, root: Path) -> Path:
    """prepared/luna16_slices/<name>: the name has the resolution and a hash of recipe and tree."""
    digest = hashlib.sha256()
    for name in _RECIPE:
        digest.update((_SOURCE / name).read_bytes())
    digest.update(root.name.encode() if config.root is None else _fingerprint(root).encode())
    return config.prepared / Luna16Slices.name / f"r{config.resolution}_{digest.hexdigest()[:12]}"


def _fingerprint(root: Path) -> str:
    """A line per file that preparation reads: its path in the tree, then its hash, or size and time for voxels."""
    if not root.is_dir():
        raise UserError(f"data.root: {root} is not a folder; give the folder that holds subset0 .. subset9")
    lines = []
    for folder, folders, files in os.walk(root, followlinks=True):
        top = Path(folder).relative_to(root).parts[:1]
        if not top:
            folders[:] = [f for f in folders if f.lower().startswith("subset") or f in (LUNG_MASKS, "CSVFILES")]
        for name in files:
            if name == "annotations.csv" or Path(name).suffix in (".mhd", ".raw", ".zraw"):
                path = Path(folder, name)
                lines.append(f"{path.relative_to(root)} {_identity(path)}")
    return "\n".join(sorted(lines))


def _identity(path: Path) -> str:
    try:
        stat = path.stat()
        if path.suffix in (".csv", ".mhd") and stat.st_size < MAX_TEXT_BYTES:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        return f"{stat.st_size} {int(stat.st_mtime)}"
    except OSError as error:  # a scan that cannot be read gets the verdict "refused"
        return str(error.strerror)


def _record(directory: Path) -> Record | None:
    """The content of verify.json; None if there is no complete dataset, which is then prepared again."""
    try:
        record = TypeAdapter(Record).validate_json((directory / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    return record if (directory / str(Luna16Slices.VERSION) / "dataset_info.json").is_file() else None


def _refused_changed(root: Path, directory: Path, record: Record) -> bool:
    """Whether a file of a refused scan has changed since then in content, path or permissions."""
    written = (directory / RECORD).stat().st_mtime
    refused = [root / scan.file for scan in record.scans if scan.status == "refused"]
    places = {(folder, path.stem) for path in refused for folder in (path.parent, root / LUNG_MASKS)}
    files = (file for folder, stem in places for file in folder.glob(f"{glob.escape(stem)}.*"))
    return any(file.lstat().st_ctime > written for file in files)
