"""Exported networks do what the package does, with jax alone."""

import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import pytest

import tsgan_jax
from tsgan_jax.cli import export as command
from tsgan_jax.generation import exported
from tsgan_jax.generation.export import export_networks
from tsgan_jax.generation.generate import set_key
from tsgan_jax.generation.sources import stylegan_masks

SEED, IMAGES = 3, 6
USE = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from load import load, noise
z, mask_key, ct_key = noise(int(sys.argv[3]), range(int(sys.argv[4])))
mask, ct = load("pairs")(z, mask_key, ct_key)
np.savez(sys.argv[2], mask=mask, ct=ct, alone=load("masks")(z[:1], mask_key[:1]), of_mask=load("ct")(mask, ct_key))
"""
JAX_AND_WHAT_IT_NEEDS = ("jax", "jaxlib", "numpy", "numpy.libs", "scipy", "scipy.libs", "ml_dtypes", "opt_einsum")


@pytest.fixture(scope="module")
def trained():
    return tsgan_jax.load_run("phantom-64").trained


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "phantom"
    export_networks(trained, out, ("cpu", "cuda"))
    return out


def used(python, folder, out):
    """What USE makes of an exported folder; away from the checkout, so that it cannot import the package."""
    arguments = [str(folder), str(out), str(SEED), str(IMAGES)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([*python, "-B", "-c", USE, *arguments], cwd=out.parent, env=environment, check=True, timeout=300)
    return np.load(out)


def check_images(made, trained):
    masks = stylegan_masks(trained.generator, set_key(SEED, "masks"), 1.0, 1.0).draw(0, list(range(IMAGES)))
    np.testing.assert_array_equal(made["mask"], masks)
    np.testing.assert_array_equal(made["alone"], masks[:1])
    ct = tsgan_jax.load_run("phantom-64").ct(masks, set_key(SEED, "ct"))
    assert np.ptp(ct) > 1000
    for name in ("ct", "of_mask"):
        assert made[name].dtype == np.float32
        np.testing.assert_allclose(made[name], ct, atol=0.02)  # HU, of a window of 1,400


def test_images_are_those_of_the_package_with_jax_alone(folder, trained, tmp_path):
    """The packages are links to those installed here, and no others can be imported."""
    for name in JAX_AND_WHAT_IT_NEEDS:
        installed = Path(jax.__file__).parent.parent / name
        if installed.exists():
            (tmp_path / name).symlink_to(installed)
    check_images(used([sys.executable, "-S"], folder, tmp_path / "made.npz"), trained)


@pytest.mark.slow
@pytest.mark.long
def test_images_are_those_of_the_package_in_an_environment_that_has_jax_alone(trained, tmp_path):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    wanted = [f"{name}=={version(name)}" for name in ("jax", "jaxlib", "numpy")]
    install = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--only-binary=:all:", *wanted]
    done = subprocess.run(install, capture_output=True, text=True, timeout=400)
    if done.returncode:
        pytest.skip(f"jax cannot be installed here: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    folder = tmp_path / "exported"
    assert command.main(["--network", "phantom-64", "--platforms", "cpu,cuda", "--out", str(folder)]) == 0
    check_images(used([venv / "bin" / "python"], folder, tmp_path / "made.npz"), trained)


def test_the_description_says_what_is_in_the_folder(folder):
    about = json.loads((folder / "about.json").read_text())
    assert sorted(about["functions"]) == ["ct", "masks", "pairs"] and about["platforms"] == ["cpu", "cuda"]
    assert about["labels"]["5"] == "nodule" and about["hu_window"] == [-1000, 400]
    assert about["calibrated"] and about["pixel_mm"] == pytest.approx(5.99, abs=0.01)
    for one in about["functions"].values():
        assert hashlib.sha256((folder / one["file"]).read_bytes()).hexdigest() == one["sha256"]
    inputs, outputs = (about["functions"]["pairs"][side] for side in ("inputs", "outputs"))
    assert [(each["name"], each["dtype"], each["shape"]) for each in inputs] == [
        ("z", "float32", ["n", 64]),
        ("mask_key", "uint32", ["n", 2]),
        ("ct_key", "uint32", ["n", 2]),
    ]
    assert [(each["name"], each["shape"]) for each in outputs] == [("mask", ["n", 64, 64]), ("ct", ["n", 64, 64])]
    assert len((folder / "load.py").read_text().splitlines()) < 70
    names = {"about.json", "load.py", *(one["file"] for one in about["functions"].values())}
    assert {path.name for path in folder.iterdir()} == names


def test_a_changed_file_is_refused(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    code = bytearray((tmp_path / "ct.stablehlo").read_bytes())
    code[len(code) // 2] ^= 1
    (tmp_path / "ct.stablehlo").write_bytes(code)
    with pytest.raises(SystemExit, match="ct.stablehlo: changed since it was written"):
        exported.load("ct", tmp_path)


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--network", "phantom-64", "--platforms", "cpu,quantum"], "'quantum' is not one of cpu, cuda"),
        (["--network", "phantom-64"], "has files; choose a new folder"),
        (["--run", "nowhere"], "nowhere: not a run directory"),
    ],
)
def test_what_cannot_be_exported_is_refused(folder, arguments, reason, capsys):
    try:
        code = command.main([*arguments, "--out", str(folder)])
    except SystemExit as stop:  # of argparse
        code = stop.code
    assert code == 2 and reason in capsys.readouterr().err
