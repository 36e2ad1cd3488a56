"""Patients written as a LUNA16 tree: subset folders, lung masks and annotations.csv."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from tsgan_jax.config import PhantomConfig
from tsgan_jax.errors import UserError
from tsgan_jax.phantom.patient import Patient, patient
from tsgan_jax.workers import cores, run_all

VERSION = 2
"""Increase it whenever the same config gives other images, so that old trees are not reused."""

SUBSETS = 10
MARK = "phantom.json"
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
LEAST_PER_WORKER = 6
"""Patients for which a worker process saves more time than it needs to start."""


def series_uid(config: PhantomConfig, index: int) -> str:
    """A UID under 2.25, the public root for 128-bit numbers; it differs from every UID of LIDC-IDRI."""
    text = f"tsgan phantom {VERSION} {config.seed} {config.size} {config.slices} {index}"
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"


def write_tree(root: Path, config: PhantomConfig, workers: int | None = None) -> None:
    """Write `config.patients` phantoms as a LUNA16 tree in `root`; an existing tree is kept.

    root/subset0..9/<uid>.mhd with .zraw (some .raw), root/seg-lungs-LUNA16/<uid>.mhd with .zraw (3 left, 4 right,
    5 trachea), root/annotations.csv in world mm, root/phantom.json (the config).  Patient i is in subset i % 10.
    The tree is built next to `root` and renamed when it is complete.  workers: processes, by default one per core;
    a script that calls this outside `if __name__ == "__main__":` needs workers=1.

    Raises UserError when `root` holds anything else.
    """
    root = Path(root)
    mark = {"phantom": VERSION, **config.model_dump(mode="json")}
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        try:
            written = json.loads((root / MARK).read_text())
        except (OSError, ValueError):
            written = None
        if written == mark:
            return
        raise UserError(
            f"{root}: not empty, and not the phantom of this config; remove it, or name another folder as data.root"
        )
    part = root.with_name(f"{root.name}.partial")
    if part.exists():
        shutil.rmtree(part)
    for name in (*(f"subset{k}" for k in range(SUBSETS)), "seg-lungs-LUNA16"):
        (part / name).mkdir(parents=True)
    jobs = [(part, config, index) for index in range(config.patients)]
    written = run_all(_write_one, jobs, min(workers or cores(), len(jobs) // LEAST_PER_WORKER))
    rows = sorted(row for found in written for row in found)
    with open(part / "annotations.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    (part / MARK).write_text(json.dumps(mark, indent=2) + "\n")
    if root.exists():
        root.rmdir()
    part.rename(root)


def _write_one(job: tuple[Path, PhantomConfig, int]) -> list[tuple]:
    root, config, index = job
    made = patient(index, config)
    uid = series_uid(config, index)
    write_scan(root / f"subset{index % SUBSETS}" / f"{uid}.mhd", made.hu, made)
    write_scan(root / "seg-lungs-LUNA16" / f"{uid}.mhd", made.lungs, made, compressed=True)
    return [(uid, *(f"{c:.7f}" for c in n.centre), f"{n.diameter_mm:.7f}") for n in made.nodules]


def write_scan(path: Path, array: np.ndarray, made: Patient, compressed: bool | None = None) -> None:
    """One array [z, y, x] of a patient as MetaImage, in the patient's stored orientation."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(made.spacing[::-1])
    image.SetOrigin(made.origin)
    if made.flipped:
        image = SimpleITK.DICOMOrient(image, "RAS")
    SimpleITK.WriteImage(image, str(path), useCompression=made.compressed if compressed is None else compressed)
