"""Every leak that is planted is refused, and what is clean is not."""

from dataclasses import replace

import numpy as np
import pytest

from tests.detection import comparison_case
from tsgan_jax import labels
from tsgan_jax.data.pipeline import load, training_folds
from tsgan_jax.detection import leaks
from tsgan_jax.errors import UserError
from tsgan_jax.files import read_json, read_object, write_json
from tsgan_jax.generation.generate import export_fold
from tsgan_jax.generation.labelled import open_set
from tsgan_jax.generation.manifest import read_manifest, write_manifest
from tsgan_jax.generation.runs import fingerprint


@pytest.fixture(scope="module")
def folds(case, tmp_path_factory):
    """Real sets of folds 0 and 1."""
    out = tmp_path_factory.mktemp("folds")
    made = {}
    for number in (0, 1):
        export_fold(load(case.config.data, [number]), case.config.data.hu_window, out / str(number))
        made[number] = open_set(out / str(number))
    return made


def refuse_trained_on(fold, run, case):
    data = case.config.decisive_settings()["data"]
    slices = load(case.config.data, training_folds(case.config.data))
    made = open_set(run / "sets" / "synthetic")
    leaks.refuse_trained_on(fold, run, made, data, fingerprint((slices.ct, slices.mask)))


def change(path, **values):
    """Of the manifest of a stage, or of a set."""
    if path.is_dir():
        write_manifest(path, {**read_manifest(path), **values})
    else:
        write_json(path, {**read_object(path), **values})


def test_clean_data_pass(case, run, folds):
    leaks.refuse_shared_scans(folds)
    refuse_trained_on(0, run, case)
    leaks.refuse_real_among(open_set(run / "sets" / "synthetic"), {0: folds[0]})


def test_a_scan_in_two_folds_is_refused(folds):
    """Another slice of a scan is the same patient."""
    other = folds[0].pictures[0].record["seriesuid"].removesuffix(".s0001")
    planted = replace(folds[1].pictures[0], record={**folds[1].pictures[0].record, "seriesuid": f"{other}.s0007"})
    with pytest.raises(UserError, match=rf"leak: scan {other} is in fold 0 and in fold 1"):
        leaks.refuse_shared_scans({0: folds[0], 1: replace(folds[1], pictures=(planted, *folds[1].pictures))})


def test_an_image_under_two_names_is_refused(folds):
    planted = replace(folds[0].pictures[0], record={**folds[0].pictures[0].record, "seriesuid": "another"})
    with pytest.raises(UserError, match="the same image under two names"):
        leaks.refuse_shared_scans({0: folds[0], 1: replace(folds[1], pictures=(planted,))})


def test_a_generator_trained_on_the_test_fold_is_refused(case, run):
    with pytest.raises(UserError, match=r"leak: .*sets/synthetic/manifest.jsonl.*data.test_fold 0.*seen fold 1"):
        refuse_trained_on(1, run, case)


@pytest.mark.parametrize("stage", ["masks", "translation"])
def test_a_stage_that_saw_the_test_fold_is_refused(case, run, stage):
    """The set may say what it likes: the stages' own manifests count as well."""
    manifest = run / stage / "manifest.json"
    change(manifest, settings={**read_json(manifest)["settings"], "data.test_fold": [1, 2]})
    with pytest.raises(UserError, match=rf"leak: .*stage {stage} was trained with data.test_fold \[1, 2\]"):
        refuse_trained_on(0, run, case)


def test_a_test_fold_that_was_changed_on_the_way_is_refused(case, run):
    changed = [{"key": "data.test_fold", "from": 3, "to": 0, "images_seen": 500}]
    change(run / "masks" / "manifest.json", changes=changed)
    with pytest.raises(UserError, match="stage masks was temporarily trained with data.test_fold 3"):
        refuse_trained_on(0, run, case)


def test_a_stage_trained_on_other_slices_is_refused(case, run):
    change(run / "translation" / "manifest.json", slices_sha256="0" * 32)
    with pytest.raises(UserError, match="leak: .*stage translation was trained on other slices"):
        refuse_trained_on(0, run, case)


def test_a_manifest_that_does_not_say_is_refused(case, run):
    change(run / "masks" / "manifest.json", settings={})
    with pytest.raises(UserError, match="does not say which fold was the test fold"):
        refuse_trained_on(0, run, case)
    change(run / "sets" / "synthetic", made_from={"kind": "real"})
    with pytest.raises(UserError, match="does not say which run made the set"):
        refuse_trained_on(0, run, case)


def test_a_set_of_other_data_is_refused(case, run):
    path = run / "sets" / "synthetic"
    made_from = read_manifest(path)["made_from"]
    made_from["config"]["data"]["resolution"] = 64
    change(path, made_from=made_from)
    with pytest.raises(UserError, match="resolution 64, the run has 32"):
        refuse_trained_on(0, run, case)


def as_it_is(image):
    return image


def mirrored(image):
    return image[:, ::-1]


def turned(image):
    return np.rot90(image)


@pytest.mark.parametrize("lay", [as_it_is, mirrored, np.flipud, turned])
@pytest.mark.parametrize("part", ["image", "mask"])
def test_a_real_test_slice_among_the_synthetic_is_refused(case, tmp_path, folds, lay, part):
    real, others = load(case.config.data, [0]), case.others
    with_nodule = next(n for n, mask in enumerate(real.mask) if (mask == labels.NODULE).any())
    ct, mask = others.ct.copy(), others.mask.copy()
    if part == "image":
        ct[1] = lay(real.ct[with_nodule])
    else:
        mask[1] = lay(real.mask[with_nodule])
    planted = replace(others, ct=ct, mask=mask)
    made = open_set(comparison_case.write_set(tmp_path / "set", planted, case.config, 3))
    with pytest.raises(UserError, match=rf"leak: the {part} of synthetic 000001.png in .* is that of the real"):
        leaks.refuse_real_among(made, {0: folds[0]})


def test_a_mirrored_mask_with_its_lungs_renamed_is_refused(case, tmp_path, folds):
    """As training on mirrored slices would have it."""
    real, others = load(case.config.data, [0]), case.others
    with_nodule = next(n for n, mask in enumerate(real.mask) if (mask == labels.NODULE).any())
    mask = others.mask.copy()
    mask[0] = labels.MIRROR[real.mask[with_nodule]][:, ::-1]
    made = open_set(comparison_case.write_set(tmp_path / "set", replace(others, mask=mask), case.config, 2))
    with pytest.raises(UserError, match="leak: the mask of synthetic 000000.png"):
        leaks.refuse_real_among(made, {0: folds[0]})


@pytest.mark.parametrize("kind", ["real", "deform"])
def test_masks_of_other_slices_than_the_training_folds_are_refused(case, run, kind):
    """A set on masks of real slices has no stage 1 to ask; its masks' slices are compared themselves."""
    slices = load(case.config.data, training_folds(case.config.data))
    path = run / "sets" / "synthetic"
    made = read_manifest(path)["made_from"]
    change(run / "masks" / "manifest.json", settings={"data.test_fold": 3})  # not of this set's making
    clean = {"kind": kind, "slices": fingerprint((slices.ct, slices.mask))}
    change(path, made_from={**made, "masks": clean})
    refuse_trained_on(0, run, case)
    change(path, made_from={**made, "masks": {**clean, "slices": "0" * 32}})
    with pytest.raises(UserError, match="leak: .*its masks come from other slices"):
        refuse_trained_on(0, run, case)
