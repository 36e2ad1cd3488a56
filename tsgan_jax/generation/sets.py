"""Making of a set of labelled slices, synthetic or real, in one form (manifest.py).

While a set is being made its records are in `journal.jsonl`.  A rerun keeps finished images whose files are intact; a
directory of another set is refused.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from tsgan_jax import images
from tsgan_jax.config.reading import flatten
from tsgan_jax.errors import UserError
from tsgan_jax.files import is_unfinished, locked, safe_name, sweep, write_bytes
from tsgan_jax.generation import coco, sheet
from tsgan_jax.generation.manifest import (
    ANNOTATIONS,
    COLOUR,
    FOLDERS,
    HU,
    IMAGES,
    MANIFEST,
    MASKS,
    Record,
    accepted,
    changed_files,
    changed_others,
    is_record,
    manifest_path,
    read_manifest,
    refuse_changed,
    write_manifest,
)
from tsgan_jax.labels import NAMES

JOURNAL = "journal.jsonl"
READ = 64  # masks in memory while boxes are made


@dataclass(frozen=True)
class SetImage:
    """One slice to export.

    shown: uint8 [h, w], HU in the window.  hu: int16 [h, w].  mask: uint8 class codes [h, w].
    pixel_mm: side of a pixel.
    """

    shown: NDArray[np.uint8]
    hu: NDArray[np.int16]
    mask: NDArray[np.uint8]
    pixel_mm: float


class SetDirectory:
    """A set being made or read; a context manager that locks it against other processes.

    out: the directory, made if missing.  source: JSON values that decide every byte of the set
    (weights, seed, window, ...).  versions: of the software, recorded but not compared.
    smallest: which nodule components become objects.
    Raises UserError if `out` has other files, a set from another source, or is in use.
    """

    def __init__(
        self, out: Path, source: dict[str, Any], versions: dict[str, str], smallest: coco.Smallest, resume: bool = True
    ) -> None:
        self.out = out
        self.source = json.loads(json.dumps(source))
        self.versions = [versions]
        self.smallest = smallest
        self.records: dict[int, Record] = {}
        self.damaged = 0
        """Number of finished images whose files are missing or changed; they are made again."""
        self._formats: dict[str, Any] = {}
        self._resume = resume
        self._journal: TextIO | None = None
        self._journal_lock = Lock()
        self._held = ExitStack()

    def __enter__(self) -> Self:
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"{self.out}: is a file; a set needs a directory")
        self.out.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(locked(self.out, f"{self.out}: another process is writing to this set"))
        try:
            self._refuse_foreign()
            for folder in FOLDERS:
                (self.out / folder).mkdir(exist_ok=True)
                sweep(self.out / folder)
            sweep(self.out)
            self._load()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def add(self, index: int, name: str, labelled: SetImage, **facts: Any) -> None:
        """Write one slice and its record.  Safe to call from several threads."""
        file_name = f"{safe_name(name)}.png"
        # Not synced one by one, which would take longer than the rest: a rerun compares hashes.
        contents = {
            IMAGES: images.write_png(self.out / IMAGES / file_name, labelled.shown, sync=False),
            HU: images.write_hu(self.out / HU / file_name, labelled.hu, sync=False),
            MASKS: images.write_mask(self.out / MASKS / file_name, labelled.mask, sync=False),
            COLOUR: images.write_colours(self.out / COLOUR / file_name, labelled.mask, sync=False),
        }
        sums = {folder: hashlib.sha256(content).hexdigest() for folder, content in contents.items()}
        record = {"index": index, "accepted": True, "file_name": file_name, "pixel_mm": float(labelled.pixel_mm)}
        self._note({**record, **facts, "sha256": sums})

    def reject(self, index: int, **facts: Any) -> None:
        """Record why no slice was made for an index."""
        self._note({"index": index, "accepted": False, **facts})

    def counted(self) -> tuple[int, int]:
        """(images accepted, images rejected) so far.  Safe while threads add more."""
        with self._journal_lock:
            done = len(accepted(list(self.records.values())))
            return done, len(self.records) - done

    def take(self, part: Path) -> None:
        """Copy the images of a finished set of the same origin that this one lacks, as of a part made elsewhere.

        Raises UserError for a set of another origin, or one whose files have changed.
        """
        manifest = read_manifest(part)
        self._compare(manifest, part)
        refuse_changed(part, manifest)
        for record in manifest["images"]:
            if record["index"] not in self.records:
                for folder in record["sha256"] if record["accepted"] else ():
                    shutil.copyfile(part / folder / record["file_name"], self.out / folder / record["file_name"])
                self._note(record)

    def finish(self) -> dict[str, Any]:
        """Write pages, manifest and then the COCO file, with boxes from the masks on disk; returns the manifest."""
        os.sync()  # the images: a set that says it is complete is on the disk
        records = [self.records[index] for index in sorted(self.records)]
        info = {"description": "labelled lung-nodule CT slices", "made_from": self.source}
        tree = coco.dataset(self._pictures(accepted(records)), self.smallest, info)
        content = (json.dumps(tree, allow_nan=False) + "\n").encode()
        manifest = self._manifest(complete=True) | {
            "objects": len(tree["annotations"]),
            "specks_dropped": tree["info"]["specks_dropped"],
            "annotations_sha256": hashlib.sha256(content).hexdigest(),
            "formats": self._formats,
            "images": records,
        }
        manifest["pages"] = sheet.write(self.out, manifest, tree)
        write_manifest(self.out, manifest)
        write_bytes(self.out / ANNOTATIONS, content)
        (self.out / JOURNAL).unlink(missing_ok=True)
        self._journal = None
        return manifest

    def _pictures(self, records: list[Record]) -> Iterator[coco.CocoImage]:
        """The masks on disk; `map` alone would read all of them before the first is used."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(records), READ):
                yield from pool.map(self._picture, records[start : start + READ])

    def _picture(self, record: Record) -> coco.CocoImage:
        mask = images.read_mask(self.out / MASKS / record["file_name"])
        return coco.CocoImage(record["index"] + 1, record["file_name"], mask, record["pixel_mm"])

    def _manifest(self, complete: bool) -> dict[str, Any]:
        pixels = {HU: f"value - {images.HU_OFFSET} is HU", MASKS: dict(enumerate(NAMES))}
        return {"complete": complete, "pixels": pixels, "made_from": self.source, "versions": self.versions}

    def _note(self, record: Record) -> None:
        line = json.dumps(record, allow_nan=False) + "\n"
        with self._journal_lock:
            self.records[record["index"]] = record
            if self._journal is None:
                self._journal = self._held.enter_context((self.out / JOURNAL).open("a", encoding="utf-8", buffering=1))
            self._journal.write(line)

    def _refuse_foreign(self) -> None:
        """Raise UserError if the directory has files but no manifest."""
        if manifest_path(self.out):
            return
        begun = {*FOLDERS, JOURNAL}
        foreign = [path.name for path in self.out.iterdir() if path.name not in begun and not is_unfinished(path)]
        foreign += [f"{folder}/" for folder in FOLDERS if any((self.out / folder).glob("*"))]
        if foreign:
            raise UserError(
                f"{self.out}: has {sorted(foreign)[0]} and no {MANIFEST}, so it is not a set;"
                " choose an empty or a new directory"
            )

    def _load(self) -> None:
        """Load the records of an earlier call for the same set."""
        if manifest_path(self.out):
            manifest = read_manifest(self.out)
            if not self._resume:
                raise UserError(f"{self.out}: the set already exists; choose another directory")
            self._compare(manifest, self.out)
            self._formats = manifest.get("formats", {})
            before = manifest.get("versions", [])
            self.versions = before if self.versions[0] in before else [*before, *self.versions]
            self._keep_whole([*manifest.get("images", []), *_journal(self.out / JOURNAL)])
            if manifest.get("complete") and not self.damaged and not changed_others(self.out, manifest):
                return
        (self.out / ANNOTATIONS).unlink(missing_ok=True)
        lines = [json.dumps(record) + "\n" for record in self.records.values()]
        write_bytes(self.out / JOURNAL, "".join(lines).encode())
        write_manifest(self.out, self._manifest(complete=False) | {"formats": self._formats, "images": []})

    def _compare(self, manifest: dict[str, Any], out: Path) -> None:
        # The hashes of the networks are compared.  `parents`, the hashes of checkpoint files, are recorded only: a
        # checkpoint that was made again has the same networks in other files.
        recorded, current = (
            {key: value for key, value in flatten(made).items() if not key.startswith("parents.")}
            for made in (manifest["made_from"], self.source)
        )
        differences = [
            f"  {key}: {recorded.get(key, 'absent')} in the set, {current.get(key, 'absent')} requested"
            for key in sorted({*recorded, *current})
            if recorded.get(key) != current.get(key)
        ]
        if differences:
            raise UserError("\n".join([f"{out}: the set has another origin; choose another directory", *differences]))

    def _keep_whole(self, records: list[Record]) -> None:
        latest = {record["index"]: record for record in records}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            whole = list(pool.map(self._is_whole, latest.values()))
        self.records = {index: record for (index, record), ok in zip(latest.items(), whole, strict=True) if ok}
        self.damaged = whole.count(False)

    def _is_whole(self, record: Record) -> bool:
        if not record["accepted"]:
            return True
        return not any(changed_files(self.out, record))


def _journal(path: Path) -> Iterator[Record]:
    """The journal's records, up to the first line that is incomplete or damaged."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                return
            if not is_record(record):
                return
            yield record
