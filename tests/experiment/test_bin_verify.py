"""bin/verify names what is not as it was written, whatever it is, and changes nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tsgan_jax.cli import verify as command
from tsgan_jax.config import DataConfig
from tsgan_jax.data.luna16 import prepare
from tsgan_jax.generation import candidates
from tsgan_jax.generation.formats import convert
from tsgan_jax.generation.generate import generate_run
from tsgan_jax.generation.manifest import read_manifest, write_manifest
from tsgan_jax.generation.runs import pack
from tsgan_jax.masks.plausibility import Verdict


@pytest.fixture(scope="module")
def original(trained, tmp_path_factory):
    """A folder with a run that has a set, packed networks, prepared slices, a tree and weights."""
    base = tmp_path_factory.mktemp("verify")
    shutil.copytree(trained, base / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "check", lambda mask, pixel_mm: Verdict(True, ()))
        generate_run(base / "run", 3, base / "run" / "sets" / "some", say=lambda line: None)
    convert(base / "run" / "sets" / "some", ["yolo"])
    pack(base / "run", base / "packed")
    phantom = {"patients": 5, "slices": 1, "size": 64}
    prepare(DataConfig.model_validate({"phantom": phantom, "prepared": base / "prepared", "resolution": 32}), workers=1)
    rng = np.random.default_rng(0)
    arrays = {"block1_conv1/kernel": rng.normal(size=(3, 3, 3, 64)), "block1_conv1/bias": rng.normal(size=64)}
    np.savez(base / "vgg.npz", **{name: array.astype(np.float32) for name, array in arrays.items()})
    return base


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "copy")


def findings(path, capsys):
    """(exit code, findings)."""
    code = command.main([str(path), "--json"])
    return code, json.loads(capsys.readouterr().out)


def the_file(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("name", ["run", "run/sets/some", "packed", "prepared", "vgg.npz"])
def test_what_is_whole_is_well(original, capsys, name):
    code, found = findings(original / name, capsys)
    assert code == 0 and found and {one["status"] for one in found} == {"ok"}


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("run", "masks/checkpoints/*/state/**/*"),
        ("run", "translation/checkpoints/*/state/**/*"),
        ("run", "translation/checkpoints/*/meta/*"),
        ("run", "sets/some/images/*.png"),
        ("run/sets/some", "masks/*.png"),
        ("run/sets/some", "annotations.json"),
        ("run/sets/some", "yolo/data.yaml"),
        ("packed", "translation.npz"),
        ("packed", "config.yaml"),
        ("prepared", "**/*.tfrecord*"),
        (".", "vgg.npz"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_found(folder, capsys, name, pattern, seed):
    path = the_file(folder / name, pattern)
    content = bytearray(path.read_bytes())
    place = int(np.random.default_rng(seed).integers(len(content)))
    content[place] ^= 1 << seed
    path.write_bytes(bytes(content))
    before = {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    code, found = findings(path if name == "." else folder / name, capsys)
    assert code == 1, (path, place)
    assert any(one["status"] == "damaged" for one in found)
    assert {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()} == before


@pytest.mark.parametrize("seed", range(20))
def test_a_random_bit_of_a_random_file_is_found(folder, capsys, seed):
    """Of checkpoints, the stages' manifests, set, packed networks, shards and weights, whatever the file."""
    rng = np.random.default_rng(seed)
    kinds = {
        "run": [
            f"run/{stage}/{place}" for stage in ("masks", "translation") for place in ("checkpoints/**/*", "*.json")
        ],
        "run/sets/some": ["run/sets/some/**/*"],
        "packed": ["packed/*"],
        "prepared": ["prepared/**/*.tfrecord*"],
        "vgg.npz": ["vgg.npz"],
    }
    name = list(kinds)[seed % len(kinds)]
    files = sorted(path for pattern in kinds[name] for path in folder.glob(pattern) if path.is_file())
    path = files[rng.integers(len(files))]
    content = bytearray(path.read_bytes())
    place, bit = int(rng.integers(len(content))), int(rng.integers(8))
    content[place] ^= 1 << bit
    path.write_bytes(bytes(content))
    code, found = findings(folder / name, capsys)
    assert code == 1 and any(one["status"] == "damaged" for one in found), (path, place, bit)


def test_an_unfinished_checkpoint_is_a_warning_and_a_repeated_step_is_damage(folder, capsys):
    the_file(folder / "run", "masks/checkpoints/*/manifest.json").unlink()
    (folder / "run" / "masks" / "log.jsonl").write_text('{"step": 1}\n{"step": 1}\n')
    code, found = findings(folder / "run", capsys)
    status = {Path(one["path"]).name: one["status"] for one in found}
    assert code == 1 and status["4"] == "warning" and status["log.jsonl"] == "damaged"


def test_an_unfinished_set_is_a_warning(folder, capsys):
    out = folder / "run" / "sets" / "some"
    write_manifest(out, {**read_manifest(out), "complete": False})
    code, (finding,) = findings(out, capsys)
    assert code == 0 and finding["status"] == "warning" and "not finished" in finding["note"]


def test_a_tree_is_judged_as_bin_prepare_judges_it(original, capsys):
    (tree,) = (path.parent for path in (original / "prepared").glob("**/annotations.csv"))
    code, found = findings(tree, capsys)
    assert code == 0 and len(found) == 5


def test_other_places_are_refused(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 2
    assert "neither a run" in capsys.readouterr().err
