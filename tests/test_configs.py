"""Every shipped config goes through the whole path, shrunk to a size that a test can afford."""

import csv
import re
from pathlib import Path

import pytest

from tsgan_jax.config import REAL_MASKS, MasksConfig, TranslationConfig
from tsgan_jax.config.reading import load_config
from tsgan_jax.study.settings import load_study

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
STUDIES = sorted((ROOT / "configs" / "tables").glob("*.yaml"))
DERIVED = sorted(path for name in ("baseline", "ablation") for path in (ROOT / "configs" / name).glob("*.yaml"))
MASKS = sorted((ROOT / "configs" / "ablation" / "masks").glob("*.yaml"))
WHOLE = [path for path in CONFIGS if path not in STUDIES + DERIVED + MASKS]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs"))


def test_configs_open_with_their_command_and_cost():
    for path in CONFIGS:
        head = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
        assert f"bin/train --config {path.relative_to(ROOT)}" in head, path.name


SHRUNK = [
    "data.resolution=16",
    "data.phantom={patients: 6, slices: 1, size: 64}",
    "masks.z_dim=8",
    "masks.w_dim=8",
    "masks.mapping_layers=2",
    "masks.fmap_base=64",
    "masks.fmap_max=8",
    "masks.batch_size={4: 4, 8: 4, 16: 4}",
    "masks.steps_per_resolution=2",
    "masks.fade_fraction=0",
    "translation.epochs=1",
    "translation.decay_start=0",
    "translation.generator_width=8",
    "translation.critic_width=8",
    "translation.critic_layers=1",
    "translation.perceptual=off",
    "generation.count=2",
    "generation.attempts=1",
    "detection=null",  # trains in an environment of its own; tests/detect
]
"""Overrides that leave a config's method and its own choices as they are, and shrink the rest."""


@pytest.mark.parametrize("path", DERIVED, ids=named)
def test_a_compared_system_differs_in_its_method_alone(path):
    """Baselines under `translation`; rows of the ablation also in where masks come from."""
    ours = load_config(path)
    base = load_config(ROOT / "configs" / ("luna16_cpu.yaml" if path.stem.endswith("_cpu") else "luna16.yaml"))
    assert ours.model_copy(update={"translation": base.translation, "generation": base.generation}) == base
    if path.parent.name == "baseline":
        assert ours.generation == base.generation and ours.translation.method == path.stem.removesuffix("_cpu")
    else:
        assert ours.generation.masks == ("real" if path.stem.endswith("_real_masks") else "stylegan")


def test_the_papers_config_has_no_addition_of_ours():
    masks = load_config(ROOT / "configs" / "luna16_paper.yaml").masks
    assert masks == MasksConfig() and masks.resolutions[-1] == 512
    assert (masks.representation, masks.calibrate, masks.accumulate, masks.mirror) == ("one_hot", False, 1, False)


@pytest.mark.parametrize("path", MASKS, ids=named)
def test_rows_of_the_masks_ablation_differ_in_stage_1_alone(path):
    ours, base = load_config(path), load_config(ROOT / "configs" / "luna16_cpu.yaml")
    assert ours.model_copy(update={"masks": base.masks}) == base
    assert ours.masks.z_dim == base.masks.z_dim and ours.masks.fmap_base == base.masks.fmap_base


def test_the_ablation_is_complete():
    systems = {load_config(path).system for path in DERIVED if path.parent.name == "ablation"}
    parts = ("pix2pix", "pix2pix+lia", "pix2pix+dwmh", "dl_pix2pix")
    assert systems == {f"{part}{masks}" for part in parts for masks in ("", REAL_MASKS)}
    study = load_study(ROOT / "configs" / "tables" / "table4_cpu.yaml")
    assert {config.system for config in study.systems.values()} == systems


@pytest.mark.parametrize("path", STUDIES, ids=named)
def test_a_study_gives_all_systems_one_budget(path):
    study = load_study(path)
    common = {"epochs", "decay_start", "batch_size"}
    assert common <= study.settings.budget.keys()
    for config in study.systems.values():
        assert all(getattr(config.translation, name) == value for name, value in study.settings.budget.items())
        assert not config.translation.perceptual_on  # no weights are shipped, and the file says so
        assert (config.detection is not None) == ("detection" in study.settings.parts)


def traced(chosen: TranslationConfig) -> None:
    """All networks at the config's own size, shapes only; what a step does with them is tried on small ones."""
    import jax
    import jax.numpy as jnp

    from tsgan_jax.translation.registry import translator

    method = translator(chosen)
    key = jax.random.key(0)
    masks = jax.ShapeDtypeStruct((chosen.batch_size, chosen.resolution, chosen.resolution), jnp.uint8)
    state = jax.eval_shape(method.init, key)
    images = jax.eval_shape(
        lambda state, masks: method.translate(state, masks, jax.random.split(key, len(masks))), state, masks
    )
    assert images.shape == masks.shape


def test_networks_of_every_compared_system_fit_together_at_their_size():
    """Once for all systems whose networks are equal."""
    configs = [load_config(path) for path in DERIVED]
    configs += [config for path in STUDIES for config in load_study(path).systems.values()]
    networks = {}
    for section in (config.translation for config in configs):
        budget = {"epochs": 1, "decay_start": 0, "learning_rate": 1.0, "batch_size": 1}
        off = {"perceptual": False} if section.perceptual_on else {}
        alike = section.model_copy(update={**budget, **off})
        networks[alike.model_dump_json()] = alike
    for section in networks.values():
        traced(section)


def kinds() -> list[Path]:
    """One config for each set of choices: those left out differ from it in numbers alone."""
    found = {}
    for path in WHOLE:
        config = load_config(path, [*SHRUNK, "data.root=null"])
        numbers = {"translation": {"perceptual_layers"}, "data": {"test_fold"}}
        found[re.sub(r"[\d.]+", "", config.model_dump_json(exclude=numbers))] = path
    return list(found.values())


@pytest.mark.parametrize("path", kinds(), ids=named)
def test_every_kind_of_config_runs_from_data_to_set(path, tmp_path):
    from tsgan_jax.cli._console import PlainConsole
    from tsgan_jax.experiment.train import train

    config = load_config(path, [*SHRUNK, "data.root=null", f"data.prepared={tmp_path / 'prepared'}"])
    run = tmp_path / "run"
    train(config, run, PlainConsole())
    for stage in ("masks", "translation"):
        assert (run / stage / "log.jsonl").read_text().strip(), stage
        assert list((run / stage / "samples").glob("*.png")), stage
    assert (run / "sets" / "synthetic" / "annotations.json").is_file()
    assert (run / "report.html").is_file() == config.run.evaluate


@pytest.mark.slow
@pytest.mark.long
def test_table_1_trains_all_six_systems(tmp_path):
    from tsgan_jax.cli._console import PlainConsole
    from tsgan_jax.evaluation.tables import system_name
    from tsgan_jax.study.run import run_study

    own = {
        "cyclegan": ["critic_layers=1", "residual_blocks=1"],
        "gaugan": ["critic_layers=1", "num_ups=2", "spade_width=4"],
        "attentiongan": ["critic_layers=1", "residual_blocks=1", "contents=2"],
        "controlnet": ["patch=2", "multipliers=[1, 1]", "attention_levels=[]", "sampling_steps=2"],
        "pix2pix": ["critic_layers=1"],
        "dl_pix2pix": ["critic_layers=1"],
    }
    shrunk = [one for one in SHRUNK if not one.startswith(("translation.critic", "translation.perceptual"))]
    shrunk += [f"study.systems.{name}.translation.{one}" for name, changes in own.items() for one in changes]
    shrunk += [
        "translation.epochs=2",  # a step of ControlNet's prior and one of its control
        "generation.masks=real",  # a stage 1 of a few steps draws none that is accepted
        "data.resolution=32",
        "data.phantom={patients: 6, slices: 1, size: 64, nodule_mm: [24, 30]}",
        "masks.batch_size={4: 4, 8: 4, 16: 4, 32: 4}",
    ]
    study = load_study(ROOT / "configs" / "tables" / "table1_cpu.yaml", [*shrunk, f"data.prepared={tmp_path / 'p'}"])
    assert study.systems.keys() == own.keys()
    _, left_out = run_study(study, tmp_path / "study", PlainConsole())
    assert not left_out
    with (tmp_path / "study" / "tables" / "table1.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["region"], row["figure"]) == ("full", "PSNR")]
    ours = {row["system"]: row["ours"] for row in rows}
    for config in study.systems.values():
        assert float(ours[system_name(config.system)]) > 0
    assert (tmp_path / "study" / "figure4.png").is_file()
