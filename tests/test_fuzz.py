"""Damaged and hostile files: a reader reads one or raises UserError, in bounded time and memory, whatever is in it.

Each reader is given a valid sample, of which one file is changed: bits, bytes and blocks; numbers, words and lines; and
inside what is compressed or has checksums, so that the change gets through.  A failure names the input's number:
`fuzz(NAME, folder, [NUMBER])` repeats it.
"""

import gzip
import random
import re
import resource
import shutil
import signal
import struct
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

from tests.data.hospital_files import image_of, write_dicom
from tests.data.luna16_trees import chest, write_annotations, write_mhd
from tests.nn import torch_files
from tsgan_jax import images
from tsgan_jax.config import DataConfig
from tsgan_jax.config.reading import load_config, run_config
from tsgan_jax.data.luna16 import open_prepared, prepare
from tsgan_jax.data.metaimage import axial
from tsgan_jax.data.nodules import read_annotations
from tsgan_jax.data.own import add_scans
from tsgan_jax.data.scans import read_scan, write_nifti
from tsgan_jax.data.volume import hounsfield, read_volume
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import readers, records
from tsgan_jax.evaluation.coco_set import CocoSet
from tsgan_jax.experiment import rundir
from tsgan_jax.experiment.verify import verify
from tsgan_jax.files import file_sha256, write_json
from tsgan_jax.generation import packed
from tsgan_jax.generation.coco import SYNTHETIC
from tsgan_jax.generation.labelled import open_set
from tsgan_jax.generation.painted import mask_files
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.nn.vgg import load_vgg19
from tsgan_jax.study.settings import load_study
from tsgan_jax.train.checkpoint import Checkpoints

QUICK, LONG = 15, 10_000
SECONDS, BYTES = 20, 512 << 20
"""An input may take so long, and so much memory."""

WORDS = [
    *(b"nan", b"inf", b"-1", b"0", b"3", b"1e308", b"1e-320", b"9" * 400, b"9" * 5000, b"-9223372036854775809", b"1.5"),
    *(b"", b'""', b"null", b"true", b"[]", b"{}", b"[0]", b'{"a": 1}', b'"../../x"', b'"/etc/passwd"', b'"a\\u0000b"'),
    *(
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 2000,
        b"- " * 2000,
        b"x" * 5000,
        b"\xff\xfe",
        b"\0",
        b'"',
        b"'",
        b"\n",
    ),
    *(b"*a", b"&a [*a, *a]", b"<<: {a: 1}", b"? [a, b] : c", b"!!python/name:os.system", b"!!int x", b"!!binary x"),
    *(b"2020-99-99", b"!!set {a, b}", b"{[a]: b}", b"|", b">", b"%", b"---", b"..."),
]
NUMBERS = [
    struct.pack(order + form, value)
    for order in "<>"
    for form, value in (
        ("B", 255),
        ("H", 65535),
        ("i", -1),
        ("i", 2**31 - 1),
        ("q", 2**62),
        ("f", np.nan),
        ("d", 1e300),
    )
]


def changed(content: bytes, rng: random.Random) -> bytes:
    """A file's content with one to four changes."""
    new = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(new) + 1)
        end = min(len(new), at + rng.choice((1, 2, 4, 16, 256)))
        match rng.randrange(9):
            case 0 if at < len(new):
                new[at] ^= 1 << rng.randrange(8)
            case 1:
                del new[at:]
            case 2:
                del new[at:end]
            case 3:
                to = rng.randrange(len(new) + 1)
                new[to:to] = new[at:end]
            case 4:
                new[at:end] = rng.randbytes(end - at)
            case 5:
                number = rng.choice(NUMBERS)
                new[at : at + len(number)] = number
            case 6 | 7 if words := list(re.finditer(rb'"[^"\n]*"|[\w.+-]+', bytes(new))):
                new[slice(*rng.choice(words).span())] = rng.choice(WORDS)
            case 8 if lines := bytes(new).splitlines(keepends=True):
                line = rng.randrange(len(lines))
                lines[line : line + 1] = rng.choice(([], [lines[line]] * 2))
                new = bytearray(b"".join(lines))
    return bytes(new)


def changed_zlib(content: bytes, rng: random.Random) -> bytes:
    """Changed in what is compressed."""
    return zlib.compress(changed(zlib.decompress(content), rng))


def changed_gzip(content: bytes, rng: random.Random) -> bytes:
    """Changed in what is compressed."""
    return gzip.compress(changed(gzip.decompress(content), rng), 1)


def changed_zip(content: bytes, rng: random.Random) -> bytes:
    """One member changed, with the right checksum."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    members[name] = changed(members[name], rng)
    with zipfile.ZipFile(new := BytesIO(), "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, part in members.items():
            archive.writestr(name, part)
    return new.getvalue()


def changed_png(content: bytes, rng: random.Random) -> bytes:
    """One chunk changed, of the pixels the uncompressed bytes, with the right checksum."""
    at, chunks = 8, []
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        chunks.append([content[at + 4 : at + 8], content[at + 8 : at + 8 + size]])
        at += size + 12
    one = rng.choice(chunks)
    one[1] = changed_zlib(one[1], rng) if one[0] == b"IDAT" else changed(one[1], rng)
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(packed)


Change = Callable[[bytes, random.Random], bytes]


class Reader(NamedTuple):
    """make: writes a sample to a folder; files: those that are changed, and how; read: reads the sample.

    writes: whether reading changes files.
    """

    make: Callable[[Path], object]
    files: dict[str, tuple[Change, ...]]
    read: Callable[[Path], object]
    writes: bool = False


PLAIN = (changed,)
HU = chest((3, 24, 32))
CODES = np.arange(256, dtype=np.uint8).reshape(16, 16) % 6


def weights(folder: Path) -> None:
    """VGG-19 to its first convolution, in each layout."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 3, 3, 64)).astype("f4"), rng.normal(size=64).astype("f4")
    arrays = {"features.0.weight": kernel.transpose(3, 2, 0, 1), "features.0.bias": bias}
    torch_files.write(folder / "zip.pth", arrays)
    torch_files.write(folder / "earlier.pth", arrays, legacy=True)
    keras = {"block1_conv1/kernel": kernel, "block1_conv1/bias": bias}
    np.savez_compressed(folder / "vgg.npz", **keras)
    with h5py.File(folder / "vgg.h5", "w") as file:
        for name, array in keras.items():
            file[name] = array


def pngs(folder: Path) -> None:
    """A mask, an earlier, indexed one, HU and CT."""
    images.write_mask(folder / "mask.png", CODES)
    images.write_colours(folder / "colour.png", CODES)
    images.write_hu(folder / "hu.png", HU[1])
    images.write_png(folder / "ct.png", images.to_uint8(HU[1], (-1000, 400)))


def coco_set(folder: Path) -> None:
    """A COCO set made elsewhere."""
    pngs(folder)
    named = {"id": 1, "file_name": "mask.png", "width": 16, "height": 16}
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 4.5, 5], "area": 20, "iscrowd": 0}]
    coco = {"images": [named], "annotations": boxes, "categories": [{"id": 1, "name": "nodule"}]}
    write_json(folder / "coco.json", coco, indent=1)


def hospital(folder: Path) -> None:
    """A scan with its nodules as a table, as COCO and as a mask."""
    image = image_of(HU)
    write_nifti(folder / "scan.nii.gz", HU, image)
    write_annotations(folder, ("scan", -190.0, -155.0, -338.0, 8.0)).rename(folder / "nodules.csv")
    marked = np.zeros(HU.shape, np.uint8)
    marked[1, 5:13, 5:13] = 1
    write_nifti(folder / "marked.nii.gz", marked, image)
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 6, 8, 8]}]
    named = {"id": 1, "file_name": "1.png", "slice_index": 1}
    coco = {"images": [named], "annotations": boxes, "categories": [{"id": 1, "name": "nodule"}]}
    write_json(folder / "nodules.json", coco, indent=1)


def add(folder: Path, nodules: str) -> None:
    """Add the scan to a new tree."""
    shutil.rmtree(folder / "tree", ignore_errors=True)
    add_scans(folder / "tree", [folder / "scan.nii.gz"], [folder / nodules], say=quiet)


def tree(folder: Path) -> None:
    """A tree with the scan."""
    hospital(folder)
    add(folder, "nodules.json")


def add_again(folder: Path) -> None:
    """Add the scan to the tree that has it."""
    add_scans(folder / "tree", [folder / "scan.nii.gz"], [folder / "nodules.csv"], say=quiet)


def niftis(folder: Path) -> None:
    """CT and a painted mask."""
    write_nifti(folder / "scan.nii.gz", HU, image_of(HU))
    write_nifti(folder / "masks.nii.gz", CODES[None], image_of(CODES[None]))


def voxels(path: Path) -> None:
    """A scan's voxels in HU."""
    hounsfield(path, "scan", *axial(read_scan(path).image, path))


ORIGIN = {"kind": "synthetic", "seed": 1}


def made_set(folder: Path) -> None:
    """A finished set of two slices, and one that was cut off."""
    for name in ("whole", "begun"):
        with SetDirectory(folder / name, ORIGIN, {"numpy": "2"}, SYNTHETIC) as out:
            for index in range(2):
                out.add(index, f"{index}", SetImage(CODES, CODES.astype(np.int16), CODES, 2.0))
            out.reject(2, reasons=["no lung"])
            if name == "whole":
                out.finish()


def go_on(folder: Path) -> None:
    """Continue a set."""
    with SetDirectory(folder / "begun", ORIGIN, {"numpy": "2"}, SYNTHETIC) as out:
        out.finish()


PACKED = {"a": np.ones((3, 4), np.float32), "b": np.ones(5, np.float32)}


def packed_networks(folder: Path) -> None:
    """Of one stage, with few numbers."""
    (folder / "config.yaml").write_text("{}")
    packed.write(
        folder / "packed", load_config(folder / "config.yaml"), {"masks": PACKED}, {"pixel_mm": 2.0, "parents": {}}
    )


def unpack(folder: Path) -> None:
    """Read packed networks; of a changed file also with its right hash."""
    list(verify(folder / "packed"))
    packed.read(folder / "packed", "masks", PACKED)


def unpack_sealed(folder: Path) -> None:
    """Read packed networks whose manifest has the right hash of a changed file."""
    facts = packed.manifest_of(folder / "packed")
    facts["sha256"]["masks.npz"] = file_sha256(folder / "packed" / "masks.npz")
    write_json(folder / "packed" / packed.MANIFEST, facts)
    unpack(folder)


def page(folder: Path) -> None:
    """A page for readers, and answers."""
    (folder / "run" / "evaluation" / "readers").mkdir(parents=True)
    key = {"page": "abc", "system": "dl_pix2pix", "kinds": ["real", "synthetic"], "names": ["a", "b"]}
    write_json(folder / "run" / "evaluation" / "readers" / "abc.key.json", key)
    write_json(folder / "answers.json", {"page": "abc", "reader": "Ada", "answers": ["real", None]})


def figures(folder: Path) -> None:
    """Records of an evaluation."""
    one = records.Record("masks", "dl_pix2pix", "nodules", "W1", 0.5, 9, interval=(0.1, 0.7))
    records.append(folder / "records.jsonl", [one, one])


def checkpoint(folder: Path) -> None:
    """Two checkpoints of a small state."""
    saved = Checkpoints(folder / "checkpoints", keep=3)
    for step in (1, 2):
        assert saved.save({"a": np.ones(3)}, {"phase": 0, "images_seen": step}, step)
    saved.wait()


def newest(folder: Path) -> None:
    """Read the newest checkpoint; what is damaged is set aside, and the one before it is read."""
    saved = Checkpoints(folder / "checkpoints", keep=3, say=quiet)
    found = saved.newest()
    assert found is not None and found.meta["images_seen"] == found.step
    restored = saved.restore(found, {"a": np.ones(3)})
    np.testing.assert_array_equal(restored["a"], np.ones(3))


def slices(folder: Path) -> None:
    """Prepared slices."""
    prepare(prepared_config(folder), workers=1)
    (found,) = folder.glob("prepared/luna16_slices/*/1.0.0")
    for path in found.iterdir():
        shutil.copy(path, folder / re.sub(r".*\.tfrecord.*", "shard", path.name))


def prepared_config(folder: Path) -> DataConfig:
    """Of the phantom in a folder."""
    phantom = {"patients": 5, "slices": 1, "size": 64}
    return DataConfig.model_validate({"phantom": phantom, "prepared": folder / "prepared", "resolution": 16})


def read_slices(folder: Path) -> None:
    """Read a fold of changed slices."""
    from tsgan_jax.data.dataset import read_fold

    config = prepared_config(folder)
    (found,) = folder.glob("prepared/luna16_slices/*/1.0.0")
    for path in found.iterdir():
        name = re.sub(r".*fold_0.*\.tfrecord.*", "shard", path.name)
        if (folder / name).is_file():
            shutil.copy(folder / name, path)
    read_fold(open_prepared(config), 0)


def run_directory(folder: Path) -> None:
    """A run with untrained networks."""
    from trained_run import make_run

    config = make_run(folder / "run")
    for stage in rundir.STAGES:
        (folder / "run" / stage / "log.jsonl").write_text('{"step": 1, "images": 4}\n{"step": 2, "images": 8}\n')
        rundir.begin_stage(folder / "run", config, stage, 8, {"pixel_mm": 2.5}, quiet)


def read_run(folder: Path) -> None:
    """What reads the files of a run, except the arrays."""
    run = folder / "run"
    list(verify(run))
    config = run_config(run)
    rundir.check_loads(run, config, rundir.compare(run, config), 5)
    for stage in rundir.STAGES:
        rundir.check_facts(run, stage, {"pixel_mm": 2.5}, ())


CONFIG = """
base: base.yaml
seed: 3
data: {phantom: {patients: 5}, hu_window: [-1000, 400], test_fold: [0, 1]}
masks: {learning_rate: 0.003}
translation: {method: dl_pix2pix, epochs: 4, decay_start: 2, perceptual: off, perceptual_layers: [relu1_1]}
run: {evaluate: on}
"""
STUDY = """
data: {phantom: {patients: 5}}
study:
  title: Two systems
  systems: {first: {}, second: {translation: {method: cyclegan}}}
  budget: {epochs: 1, decay_start: 0}
"""


def configs(folder: Path) -> None:
    """A config with a base, and a study."""
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "base.yaml").write_text("translation: {method: gaugan, epochs: 9}\ngeneration: {count: 5}\n")
    (folder / "study.yaml").write_text(STUDY)


def quiet(line: str) -> None:
    """Say nothing."""


WINDOW = (-1000.0, 400.0)
CHECKPOINT = "checkpoints/2"
RUN_FILES = ("config.yaml", "masks/manifest.json", "masks/log.jsonl", "masks/checkpoints/4/manifest.json")
READERS = {
    "MetaImage": Reader(
        lambda at: write_mhd(at / "scan.mhd", HU),
        {"scan.mhd": PLAIN, "scan.zraw": (changed, changed_zlib)},
        lambda at: read_volume(at / "scan.mhd", at),
    ),
    "annotations.csv": Reader(
        lambda at: write_annotations(at, *(("a b", 1.0, 2.0, 3.0, 4.0),) * 2),
        {"annotations.csv": PLAIN},
        lambda at: read_annotations(at / "annotations.csv"),
    ),
    "nodules.csv": Reader(hospital, {"nodules.csv": PLAIN}, lambda at: add(at, "nodules.csv")),
    "nodules.json": Reader(hospital, {"nodules.json": PLAIN}, lambda at: add(at, "nodules.json")),
    "nodules.nii.gz": Reader(hospital, {"marked.nii.gz": (changed_gzip,)}, lambda at: add(at, "marked.nii.gz")),
    "tree": Reader(tree, {"tree/sources.json": PLAIN, "tree/annotations.csv": PLAIN}, add_again, writes=True),
    "NIfTI": Reader(niftis, {"scan.nii.gz": (changed, changed_gzip)}, lambda at: voxels(at / "scan.nii.gz")),
    "painted.nii.gz": Reader(
        niftis, {"masks.nii.gz": (changed, changed_gzip)}, lambda at: mask_files(at / "masks.nii.gz", 16, say=quiet)
    ),
    "painted.png": Reader(
        pngs, {"mask.png": (changed, changed_png)}, lambda at: mask_files(at / "mask.png", 16, say=quiet)
    ),
    "DICOM": Reader(
        lambda at: write_dicom(at / "series", image_of(HU)),
        {"series/IM0007.dcm": PLAIN},
        lambda at: voxels(at / "series"),
    ),
    "config": Reader(configs, {"config.yaml": PLAIN, "base.yaml": PLAIN}, lambda at: load_config(at / "config.yaml")),
    "study": Reader(configs, {"study.yaml": PLAIN}, lambda at: load_study(at / "study.yaml")),
    "COCO": Reader(
        coco_set,
        {"coco.json": PLAIN, "mask.png": (changed, changed_png)},
        lambda at: list(CocoSet(at, at / "coco.json", 16, WINDOW).region("nodules")),
    ),
    **{
        f"PNG {name}": Reader(pngs, {f"{name}.png": (changed, changed_png)}, read)
        for name, read in {
            "mask": lambda at: images.read_mask(at / "mask.png"),
            "colour": lambda at: images.read_mask(at / "colour.png"),
            "hu": lambda at: images.read_hu(at / "hu.png"),
            "ct": lambda at: (images.read_png(at / "ct.png"), images.read_shown(at / "ct.png", WINDOW)),
        }.items()
    },
    **{
        name: Reader(weights, {name: how}, lambda at, name=name: load_vgg19(at / name, ("relu1_1",)))
        for name, how in {
            "zip.pth": (changed, changed_zip),
            "earlier.pth": PLAIN,
            "vgg.npz": (changed, changed_zip),
            "vgg.h5": PLAIN,
        }.items()
    },
    "set": Reader(
        made_set,
        {"whole/manifest.jsonl": PLAIN, "whole/annotations.json": PLAIN, "whole/masks/1.png": PLAIN},
        lambda at: (list(verify(at / "whole")), open_set(at / "whole")),
    ),
    "set, continued": Reader(
        made_set,
        {"begun/manifest.jsonl": PLAIN, "begun/journal.jsonl": PLAIN, "begun/masks/1.png": PLAIN},
        go_on,
        writes=True,
    ),
    "packed": Reader(
        packed_networks, {"packed/manifest.json": PLAIN, "packed/masks.npz": (changed, changed_zip)}, unpack
    ),
    "packed, sealed": Reader(packed_networks, {"packed/masks.npz": (changed, changed_zip)}, unpack_sealed),
    "answers": Reader(
        page,
        {"answers.json": PLAIN, "run/evaluation/readers/abc.key.json": PLAIN},
        lambda at: readers.score(at / "run", at / "answers.json"),
    ),
    "records": Reader(figures, {"records.jsonl": PLAIN}, lambda at: records.read(at / "records.jsonl")),
    "checkpoint": Reader(
        checkpoint, {f"{CHECKPOINT}/manifest.json": PLAIN, f"{CHECKPOINT}/meta/metadata": PLAIN}, newest, True
    ),
    "slices": Reader(slices, {"shard": PLAIN, "dataset_info.json": PLAIN, "features.json": PLAIN}, read_slices),
    "run": Reader(run_directory, {f"run/{name}": PLAIN for name in RUN_FILES}, read_run),
}


def peak() -> int:
    """Most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Hang(BaseException):
    """An input takes too long."""


def hang(signum, frame):
    """The handler of the alarm."""
    raise Hang(f"more than {SECONDS} s")


def fuzz(name: str, folder: Path, numbers: Iterable[int]) -> list[str]:
    """The failures of a reader with the inputs of these numbers."""
    reader, at, failures = READERS[name], folder / "sample", []
    (folder / "whole").mkdir()
    reader.make(folder / "whole")
    shutil.copytree(folder / "whole", at)
    reader.read(at)  # what was not changed is read
    before = signal.signal(signal.SIGALRM, hang)
    try:
        for number in numbers:
            rng = random.Random(f"{name} {number}")
            path, changes = rng.choice(list(reader.files.items()))
            content = (folder / "whole" / path).read_bytes()
            (at / path).write_bytes(rng.choice(changes)(content, rng))
            most = peak()
            signal.alarm(SECONDS)
            try:
                reader.read(at)
            except UserError:
                pass
            except (Exception, Hang):
                failures.append(f"{number}, {path}: {traceback.format_exc(limit=-3)}")
            finally:
                signal.alarm(0)
                if reader.writes:
                    shutil.rmtree(at)
                    shutil.copytree(folder / "whole", at)
                else:
                    (at / path).write_bytes(content)
            if peak() - most > BYTES:
                failures.append(f"{number}, {path}: took {(peak() - most) >> 20} MB")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert {path.name for path in folder.iterdir()} == {"whole", "sample"}, "a file was written outside"
    return failures


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, QUICK) for name in READERS if name not in ("slices", "run")),  # their samples take seconds to make
        *(
            pytest.param(name, LONG, marks=[pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(7200)])
            for name in READERS
        ),
    ],
)
def test_a_changed_file_is_read_or_refused(tmp_path, monkeypatch, name, count):
    monkeypatch.chdir(tmp_path)
    failures = fuzz(name, tmp_path, range(count))
    assert not failures, f"{len(failures)} of {count}:\n" + "\n".join(failures[:5])
