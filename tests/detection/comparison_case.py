"""A run directory as bin/train leaves it, on a phantom of a few patients, and a set that it could have made.

Nothing is trained: the "synthetic" slices are those of other phantom patients.
"""

from pathlib import Path

from tsgan_jax.config import Config
from tsgan_jax.config.reading import load_config
from tsgan_jax.data.luna16 import prepare
from tsgan_jax.data.pipeline import SliceSet, load, training_folds
from tsgan_jax.experiment import rundir
from tsgan_jax.generation import coco
from tsgan_jax.generation.runs import fingerprint, versions
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.images import to_uint8

CONFIG = """
data:
  phantom: {patients: 15, slices: 1, size: 64, nodule_mm: [14, 30]}
  resolution: 32
  test_fold: 0
translation: {method: pix2pix}
detection: {models: [yolov8n], epochs: 1, image_size: 64, schedule: [0, 2], controls: [], bootstrap: 20, device: cpu}
"""


def config_at(folder: Path, *overrides: str) -> Config:
    """The case's config with its data in `folder`."""
    (folder / "case.yaml").write_text(CONFIG)
    return load_config(folder / "case.yaml", [f"data.prepared={folder / 'prepared'}", *overrides])


def make_run(run: Path, config: Config) -> None:
    """The manifests of two stages that were trained on the training folds."""
    slices = load(config.data, training_folds(config.data))
    facts = {
        "slices": len(slices),
        "slices_sha256": fingerprint((slices.ct, slices.mask)),
        "pixel_mm": float(slices.pixel_mm[0]),
    }
    for stage in rundir.STAGES:
        rundir.begin_stage(run, config, stage, 10, facts)


def other_patients(folder: Path, count: int = 4) -> SliceSet:
    """Slices that are in none of the case's folds."""
    phantom = f"data.phantom={{patients: {max(count, 6)}, slices: 1, size: 64, nodule_mm: [14, 30], seed: 5}}"
    config = config_at(folder, phantom, f"data.prepared={folder / 'others'}")
    prepare(config.data)
    return load(config.data, range(5))


def write_set(out: Path, slices: SliceSet, config: Config, count: int) -> Path:
    """A finished set of the first slices, said to be made by the config's networks."""
    made_from = {"kind": "synthetic", "config": config.decisive_settings()}
    with SetDirectory(out, made_from, versions(), coco.SYNTHETIC) as directory:
        for index in range(count):
            hu = slices.ct[index]
            shown = to_uint8(hu, config.data.hu_window)
            labelled = SetImage(shown, hu, slices.mask[index], float(slices.pixel_mm[index]))
            directory.add(index, f"{index:06d}", labelled)
        directory.finish()
    return out
