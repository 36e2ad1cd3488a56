"""The config file as users meet it: what it refuses, and in which words."""

from pathlib import Path

import pytest

from tsgan_jax.config import Config
from tsgan_jax.config.reading import config_hash, dump_config, load_config
from tsgan_jax.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return path


def test_an_empty_file_is_the_paper(tmp_path):
    config = load_config(write(tmp_path, "# nothing\n"))
    assert config == Config()
    assert config.masks.steps(512) == 10_000 and config.masks.learning_rate == 0.002
    assert config.translation.l1_weight == 200 and config.translation.perceptual_weight == 10
    assert (config.translation.epochs, config.translation.decay_start) == (200, 100)


def test_overrides_win_and_are_yaml(tmp_path):
    path = write(tmp_path, "data: {resolution: 128}\ntranslation: {epochs: 10, decay_start: 2}\n")
    overrides = ["translation.epochs=4", "translation.learning_rate=1e-3", "data.hu_window=[-1200, 600]"]
    config = load_config(path, overrides)
    assert config.translation.epochs == 4
    assert config.translation.learning_rate == 1e-3
    assert config.data.hu_window == (-1200, 600)


def test_stages_inherit_resolution_and_precision(tmp_path):
    config = load_config(write(tmp_path, "precision: bfloat16\ndata: {resolution: 128}\n"))
    assert config.masks.resolution == config.translation.resolution == 128
    assert config.masks.precision == config.translation.precision == "bfloat16"
    assert config.translation.depth == 4


def test_pix2pix_is_the_all_off_case(tmp_path):
    translation = load_config(write(tmp_path, "translation: {method: pix2pix}\n")).translation
    assert not (translation.lia or translation.dwmh or translation.perceptual)
    assert translation.l1_weight == 100


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("masks:\n  learning_rat: 0.1\n", ("line 2", "masks.learning_rat", "did you mean 'learning_rate'")),
        ("maskss: {}\n", ("line 1", "did you mean 'masks'")),
        ("translation:\n  l1_wieght: 3\n", ("line 2", "translation.l1_wieght", "'l1_weight'")),
        ("translation: {method: pix2pix, lai: true}\n", ("line 1", "translation.lai")),
        ("seed: 1\nseed: 2\n", ("line 2", "duplicate")),
        ("data:\n  resolution: 100\n", ("line 2", "data.resolution", "100")),
        ("masks: {z_dim: many}\n", ("line 1", "masks.z_dim", "many")),
        ("translation: {l1_weight: -1}\n", ("line 1", "translation.l1_weight", "-1")),
        ("masks: {adam_betas: [0, 1]}\n", ("line 1", "masks.adam_betas", "less than 1")),
        ("data: &a {resolution: 128}\nmasks: *a\n", ("line 2", "alias")),
        ("data: [1\n", ("line", "not valid YAML")),
        ("- 1\n", ("mapping",)),
        ("data: /data/LUNA16\n", ("line 1", "'data'", "/data/LUNA16")),
        ("data: [1]\n", ("line 1", "'data'")),
        ("seed: 4294967296\n", ("line 1", "'seed'", "4294967296")),
        ("generation: {seed: -1}\n", ("line 1", "'generation.seed'")),
        ("data: {hu_window: [400, -1000]}\n", ("hu_window", "rise")),
        ("translation: {epochs: 3, decay_start: 9}\n", ("decay_start",)),
        ("translation: {method: pix3pix}\n", ("translation", "pix3pix")),
    ],
)
def test_refusals_name_file_line_and_fix(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as refusal:
        load_config(path)
    for word in (str(path), *words):
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    "override", ["epochs", "=3", "data.resolution.x=1", "translation.epoch=3", "data.resolution=x"]
)
def test_bad_overrides_are_quoted_back(tmp_path, override):
    with pytest.raises(UserError, match="override"):
        load_config(write(tmp_path, "data: {resolution: 64}\n"), [override])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", ["luna16_cpu", "configs/luna16_cpu.yaml", "luna16_cpu.yaml"])
def test_a_config_of_the_package_is_found_by_name_in_any_folder(tmp_path, monkeypatch, name):
    whole = load_config(ROOT / "configs" / "luna16_cpu.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_config(name) == whole
    write(tmp_path, "seed: 5\n").rename(tmp_path / "luna16_cpu.yaml")
    assert load_config("luna16_cpu.yaml").seed == 5  # a file goes first


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("quikstart", "/quickstart.yaml", "other/quickstart.yaml"):
        with pytest.raises(UserError, match=r"no such config file.* luna16, .*quickstart, tables/table1_cpu"):
            load_config(name)


def test_python_objects_are_not_made(tmp_path):
    with pytest.raises(UserError):
        load_config(write(tmp_path, "seed: !!python/object/apply:os.getcwd []\n"))


def test_dump_and_load_round_trip(tmp_path):
    config = load_config(write(tmp_path, "data: {resolution: 64, root: /a b/ü}\ntranslation: {method: pix2pix}\n"))
    again = load_config(write(tmp_path, dump_config(config)))
    assert again == config
    assert config_hash(again) == config_hash(config) != config_hash(Config())


def test_the_schema_does_not_import_jax():
    import subprocess
    import sys

    code = "import sys, tsgan_jax.config.reading; sys.exit('jax' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def bases(tmp_path: Path, **texts: str) -> Path:
    """Files by name, `a__b` as a/b; returns the one called top."""
    for name, text in texts.items():
        path = tmp_path / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path / "top.yaml"


def test_a_base_is_laid_under_key_by_key(tmp_path):
    top = bases(
        tmp_path,
        top="base: deep/mid.yaml\nmasks: {z_dim: 5, batch_size: {8: 3}}\n",
        deep__mid="base: ../low.yaml\ndata: {resolution: 16}\n",
        low="seed: 4\ndata: {resolution: 64, test_fold: 2}\n"
        "masks: {z_dim: 9, w_dim: 7, batch_size: {4: 2, 8: 2, 16: 2}}\n",
    )
    config = load_config(top, ["masks.w_dim=6"])
    assert (config.seed, config.data.resolution, config.data.test_fold) == (4, 16, 2)
    assert (config.masks.z_dim, config.masks.w_dim) == (5, 6)
    assert config.masks.batch_size == {4: 2, 8: 3, 16: 2}
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_another_method_puts_the_bases_translation_aside(tmp_path):
    low = "translation: {epochs: 7, decay_start: 3, lia_width: 5}\n"
    other = load_config(bases(tmp_path, top="base: low.yaml\ntranslation: {method: cyclegan}\n", low=low))
    assert other.translation.epochs == 200
    same = load_config(bases(tmp_path, top="base: low.yaml\ntranslation: {method: dl_pix2pix, dwmh: off}\n", low=low))
    assert (same.translation.epochs, same.translation.lia_width, same.translation.dwmh) == (7, 5, False)


def test_a_mistake_in_a_base_is_found_there(tmp_path):
    top = bases(tmp_path, top="base: low.yaml\nmasks: {z_dim: 5}\n", low="masks:\n  w_dimm: 3\n")
    with pytest.raises(UserError, match=r"low\.yaml, line 2: unknown key 'masks\.w_dimm'; did you mean 'w_dim'"):
        load_config(top)
    top = bases(tmp_path, top="base: low.yaml\nmasks:\n  w_dim: wide\n", low="masks: {w_dim: 3}\n")
    with pytest.raises(UserError, match=r"top\.yaml, line 3: 'masks\.w_dim'"):
        load_config(top)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"top": "base: top.yaml\n"}, r"top\.yaml, line 1: 'base': .*top\.yaml -> .*top\.yaml leads back to itself"),
        ({"top": "base: low.yaml\n", "low": "\nbase: top.yaml\n"}, r"low\.yaml, line 2: 'base': .* back to itself"),
        ({"top": "base: nowhere.yaml\n"}, r"top\.yaml, line 1: 'base': .*nowhere\.yaml does not exist"),
        ({"top": "base: [low.yaml]\n"}, r"top\.yaml, line 1: 'base': give one file"),
    ],
)
def test_bases_that_lead_nowhere_are_refused(tmp_path, texts, words):
    with pytest.raises(UserError, match=words):
        load_config(bases(tmp_path, **texts))


def test_a_methods_own_keys_are_suggested(tmp_path):
    with pytest.raises(UserError, match=r"unknown key 'translation\.cycle_weigth'; did you mean 'cycle_weight'"):
        load_config(write(tmp_path, "translation: {method: cyclegan, cycle_weigth: 3}\n"))


def test_a_table_of_learning_rates_names_every_resolution(tmp_path):
    config = load_config(write(tmp_path, "data: {resolution: 8}\nmasks: {learning_rate: {4: 0.1, 8: 0.2}}\n"))
    assert [config.masks.rate(resolution) for resolution in (4, 8)] == [0.1, 0.2]
    with pytest.raises(UserError, match="learning_rate lacks resolution 16"):
        load_config(write(tmp_path, "data: {resolution: 16}\nmasks: {learning_rate: {4: 0.1, 8: 0.2}}\n"))
