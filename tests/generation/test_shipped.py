"""The networks that come with the package: whole, small, with a model card, and of use as they are."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import tsgan_jax
from tsgan_jax.cli import generate as command
from tsgan_jax.config.reading import run_config
from tsgan_jax.experiment.verify import verify
from tsgan_jax.generation import packed
from tsgan_jax.images import read_mask
from tsgan_jax.labels import LEFT_LUNG, NODULE, RIGHT_LUNG
from tsgan_jax.masks.plausibility import check

FOLDER = Path(str(resources.files("tsgan_jax") / "networks"))
NAMES = sorted(path.parent.name for path in FOLDER.glob(f"*/{packed.MANIFEST}"))


def test_there_are_some_and_all_are_small():
    assert NAMES
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 25e6


@pytest.mark.parametrize("name", NAMES)
def test_files_are_as_packed_and_a_card_says_what_they_are(name):
    folder = packed.shipped(name)
    assert {finding.status for finding in verify(folder)} == {"ok"}
    card = (folder / "README.md").read_text()
    for word in ("not for diagnosis", "Trained on", "Figures", "Limits"):
        assert word in card
    assert run_config(folder).data.root is None


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_chests_with_nodules(name):
    networks = tsgan_jax.load_run(name)
    pairs = networks.pairs(seed=1, indices=range(4))
    assert len(pairs.masks) == 4
    for mask, ct in zip(pairs.masks, pairs.ct, strict=True):
        assert check(mask, networks.trained.pixel_mm).accepted and (mask == NODULE).any()
        lungs = np.isin(mask, (LEFT_LUNG, RIGHT_LUNG))
        assert ct[lungs].mean() < -600 and -300 < ct[mask == 1].mean() < 200  # air and soft tissue, in HU


def test_the_command_makes_a_set_of_them_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["--network", NAMES[0], "--count", "2", "--out", "some"]) == 0
    assert read_mask(tmp_path / "some" / "masks" / "000000.png").max() == NODULE
    assert command.main(["--network", "lung", "--count", "2", "--out", "more"]) == 2
    assert f"there are {', '.join(NAMES)}" in capsys.readouterr().err
    assert command.main(["--network", NAMES[0], "--real-fold", "0", "--out", "real"]) == 2
    assert "without real slices" in capsys.readouterr().err


def test_shards_together_are_the_set(tmp_path, capsys):
    trained = tsgan_jax.load_run("phantom-64").trained

    def make(name, seed=0, **options):
        facts = {"window": trained.config.data.hu_window, "pixel_mm": trained.pixel_mm, "count": 5, "seed": seed}
        networks = trained.generator, trained.translator, trained.translator_state
        return tsgan_jax.generate(*networks, out=tmp_path / name, **facts, **options)

    make("whole")
    for i in range(2):
        made = make(f"part{i}", shard=(i, 2))
        assert made.count == made.made == 3 - i
    names = [sorted(path.name for path in (tmp_path / f"part{i}" / "images").iterdir()) for i in range(2)]
    assert names == [["000000.png", "000002.png", "000004.png"], ["000001.png", "000003.png"]]
    assert make("joined", parts=[tmp_path / "part0", tmp_path / "part1"]).made == 0
    for path in (path for path in (tmp_path / "whole").rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "joined" / path.relative_to(tmp_path / "whole")).read_bytes(), path
    with pytest.raises(tsgan_jax.UserError, match="part0: the set has another origin"):
        make("other", seed=7, parts=[tmp_path / "part0"])
    with pytest.raises(SystemExit):
        command.main(["--network", "phantom-64", "--out", "x", "--shard", "4/4"])
    assert "is not I/N with I from 0 to N - 1" in capsys.readouterr().err
