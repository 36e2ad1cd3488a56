"""Prepared slices on disk: the TFDS dataset `luna16_slices` with one split per fold.

The name of its BuilderConfig depends on everything that decides its content: the tree, the resolution and the source
of the preparing code.  A changed tree or recipe is therefore prepared again.
"""

import glob
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsgan_jax.config import DataConfig
from tsgan_jax.data.preparation import ScanProgress, prepare_cases
from tsgan_jax.data.slices import NUM_FOLDS, StoredSlice, other_folds
from tsgan_jax.data.tensorflow_quiet import import_tensorflow
from tsgan_jax.data.verify import LUNG_MASKS, ScanVerdict, Tree, find_cases, report, verdict_from
from tsgan_jax.errors import UserError
from tsgan_jax.files import locked, write_json

tf, tfds = import_tensorflow()

_SOURCE = Path(__file__).resolve().parent
MAX_TEXT_BYTES = 1 << 24

_RECIPE = (
    *("luna16.py", "lungs.py", "metaimage.py", "nodules.py", "preparation.py", "slices.py", "verify.py", "volume.py"),
    *("../components.py", "../errors.py", "../labels.py", "../workers.py"),
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
class Prepared:
    """Prepared slices.  directory: holds the dataset and verify.json; fresh: whether this call made them."""

    directory: Path
    summary: PreparationSummary
    fresh: bool

    @property
    def verdicts(self) -> tuple[ScanVerdict, ...]:
        """The verdict of every scan when the slices were prepared."""
        scans = json.loads((self.directory / "verify.json").read_text())["scans"]
        return tuple(verdict_from(scan) for scan in scans)


_Builder: Any = tfds.core.GeneratorBasedBuilder


class Luna16Slices(_Builder):
    """Slices of `prepare` as a TFDS dataset; built from `slices`, by fold, and read without them."""

    name = "luna16_slices"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self, *, data_dir: Path, key: str, resolution: int, slices: dict[int, list[StoredSlice]] | None = None
    ) -> None:
        self.resolution, self.slices = resolution, slices
        config = tfds.core.BuilderConfig(name=key, description=f"{resolution} x {resolution} pixels")
        super().__init__(data_dir=data_dir, config=config)

    def _info(self) -> Any:
        side, real, whole = self.resolution, np.float32, np.int32
        features = {
            "ct": tfds.features.Tensor(shape=(side, side), dtype=np.int16, encoding="zlib"),
            "mask": tfds.features.Image(shape=(side, side, 1), dtype=np.uint8, encoding_format="png"),
            "seriesuid": tfds.features.Text(),
            "slice_index": tfds.features.Scalar(whole),
            "z_mm": tfds.features.Scalar(real),
            "pixel_mm": tfds.features.Scalar(real),
            "native_mm": tfds.features.Tensor(shape=(2,), dtype=real),
            "nodules": tfds.features.Sequence(
                {
                    "box": tfds.features.Tensor(shape=(4,), dtype=whole),
                    "box_native": tfds.features.Tensor(shape=(4,), dtype=whole),
                    "centre": tfds.features.Tensor(shape=(2,), dtype=real),
                    "diameter_mm": tfds.features.Scalar(real),
                }
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="CT slices through lung nodules (int16 HU), six-class masks, boxes x, y, w, h in pixels.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {f"fold_{fold}": self._generate_examples(fold) for fold in sorted(self.slices or {})}

    def _generate_examples(self, fold: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, one in enumerate((self.slices or {})[fold]):
            features = {
                "ct": one.ct,
                "mask": one.mask[..., None],
                "seriesuid": one.seriesuid,
                "slice_index": one.index,
                "z_mm": one.z,
                "pixel_mm": one.pixel_mm,
                "native_mm": np.array(one.native_mm, np.float32),
                "nodules": [
                    {
                        "box": np.array([n.box.x, n.box.y, n.box.w, n.box.h], np.int32),
                        "box_native": np.array(
                            [n.native_box.x, n.native_box.y, n.native_box.w, n.native_box.h], np.int32
                        ),
                        "centre": np.array(n.centre, np.float32),
                        "diameter_mm": n.diameter,
                    }
                    for n in one.nodules
                ],
            }
            yield key, features


def prepare(config: DataConfig, *, workers: int | None = None, progress: ScanProgress | None = None) -> Prepared:
    """Prepare the slices of the tree on disk, or find those of an earlier call.

    config.root None: the phantom is written first.  workers: processes, None for one per core.
    Raises UserError when the tree has no usable slice, or none for training or for test.
    """
    config.prepared.mkdir(parents=True, exist_ok=True)
    busy = f"{config.prepared}: another process is preparing slices there; waiting until it is done"
    with locked(config.prepared / ".lock", busy, wait=True):
        root = _root(config)
        directory = _directory(config, root)
        record = _record(directory)
        fresh = record is None or _refused_changed(root, directory, record)
        if fresh:
            _prepare(config, root, directory, workers, progress)
    fields = json.loads((directory / "verify.json").read_text())["summary"]
    summary = PreparationSummary(**{**fields, "folds": tuple(fields["folds"])})
    _check_split(config, summary)
    return Prepared(directory, summary, fresh)


def open_prepared(config: DataConfig) -> Luna16Slices:
    """The dataset of a config, for reading.  Raises UserError when it has not been prepared."""
    root = config.root or _phantom(config)
    directory = _directory(config, root)
    if _record(directory) is None:
        raise UserError(f"{directory}: the slices of {root} are not prepared, or it has changed since; run bin/prepare")
    return Luna16Slices(data_dir=config.prepared, key=directory.name, resolution=config.resolution)


def _prepare(
    config: DataConfig, root: Path, directory: Path, workers: int | None, progress: ScanProgress | None
) -> None:
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
    summary = _summary(config.resolution, tree, verdicts, folds, time.monotonic() - started)
    content = {"summary": asdict(summary), **json.loads(report(tree, verdicts))}
    write_json(directory / "verify.json", content, indent=1)
    if not summary.slices:
        raise UserError(_no_slices(root, tree, verdicts, directory))
    builder = Luna16Slices(data_dir=config.prepared, key=directory.name, resolution=config.resolution, slices=folds)
    with redirect_stdout(io.StringIO()):  # TFDS announces a download that does not happen
        builder.download_and_prepare(
            download_dir=directory / "downloads", download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    shutil.rmtree(directory / "downloads", ignore_errors=True)


def _summary(
    resolution: int, tree: Tree, verdicts: tuple[ScanVerdict, ...], folds: dict[int, list[StoredSlice]], seconds: float
) -> PreparationSummary:
    nodules = [nodule for stored in folds.values() for one in stored for nodule in one.nodules]
    return PreparationSummary(
        resolution=resolution,
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
        seconds=round(seconds, 1),
    )


def _no_slices(root: Path, tree: Tree, verdicts: tuple[ScanVerdict, ...], directory: Path) -> str:
    refused = [v for v in verdicts if v.status == "refused"]
    why = f"{len(refused)} of {len(verdicts)} scans are refused and {sum(v.nodules for v in verdicts)} nodules usable"
    example = f"; the first refusal: {refused[0].reasons[0]}" if refused else ""
    return (
        f"{root}: no usable slice: {why}, {tree.unknown} annotations are of scans that are not in the tree{example}; "
        f"every verdict is in {directory / 'verify.json'}"
    )


def _check_split(config: DataConfig, summary: PreparationSummary) -> None:
    """Raise UserError unless training and test folds have slices."""
    filled = [fold for fold, count in enumerate(summary.folds) if count]
    counts = ", ".join(f"fold {fold}: {count}" for fold, count in enumerate(summary.folds))
    for fold in config.test_folds:
        if fold not in filled:
            raise UserError(f"data.test_fold: {fold} is empty ({counts}); choose one of {filled}")
    if not set(other_folds(config.test_folds)) & set(filled):
        raise UserError(f"data.root: all slices are in the test fold ({counts}); training needs scans in other folds")


def _root(config: DataConfig) -> Path:
    """The tree to read; without `config.root` it is the phantom's, written if needed."""
    if config.root is not None:
        return config.root
    root = _phantom(config)
    if not root.is_dir():
        from tsgan_jax.phantom import write_tree

        assert config.phantom is not None
        partial = root.with_name(root.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_tree(partial, config.phantom)
        partial.rename(root)
    return root


def _phantom(config: DataConfig) -> Path:
    """The phantom's folder; its name depends on the phantom's settings and source code."""
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
    """Identifies the files that preparation reads, independent of the tree's location.

    One line per file: relative path, then the hash of headers and annotations, or size and modification time of voxels.
    """
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


def _record(directory: Path) -> dict[str, Any] | None:
    """The content of verify.json; None if there is no complete dataset, which is then prepared again."""
    version = directory / str(Luna16Slices.VERSION)
    try:
        record: dict[str, Any] = json.loads((directory / "verify.json").read_text())
    except (OSError, ValueError):
        return None
    return record if {"scans", "summary"} <= record.keys() and (version / "dataset_info.json").is_file() else None


def _refused_changed(root: Path, directory: Path, record: dict[str, Any]) -> bool:
    """Whether a file of a refused scan has changed since then in content, path or permissions."""
    written = (directory / "verify.json").stat().st_mtime
    refused = [root / scan["file"] for scan in record["scans"] if scan["status"] == "refused"]
    places = {(folder, path.stem) for path in refused for folder in (path.parent, root / LUNG_MASKS)}
    files = (file for folder, stem in places for file in folder.glob(f"{glob.escape(stem)}.*"))
    return any(file.lstat().st_ctime > written for file in files)
