"""A study file: what its systems share, what they may change, and refusals that name the line."""

import subprocess
import sys

import pytest

from tsgan_jax.config.reading import is_study, load_config
from tsgan_jax.errors import UserError
from tsgan_jax.study.page import departures, labels_of
from tsgan_jax.study.settings import load_study

HEAD = "data: {resolution: 64}\ntranslation: {epochs: 9, decay_start: 2, lia_width: 3}\nstudy:\n  title: T\n"
TWO = (
    HEAD
    + """\
  budget: {epochs: 5, decay_start: 2, generator_width: 8}
  systems:
    ours: {translation: {method: dl_pix2pix, heads: 2}}
    cycle:
      translation:
        method: cyclegan
        batch_size: 3
      generation: {count: 7}
"""
)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return write


def test_systems_share_all_but_their_own_sections(write):
    study = load_study(write(TWO), ["generation.seed=4", "study.rows=2"])
    ours, cycle = study.systems["ours"], study.systems["cycle"]
    assert (ours.data, ours.masks, ours.evaluation) == (cycle.data, cycle.masks, cycle.evaluation)
    assert [one.translation.generator_width for one in (ours, cycle)] == [8, 8]
    assert [one.translation.epochs for one in (ours, cycle)] == [5, 5]
    assert (ours.translation.decay_start, ours.translation.lia_width, ours.translation.heads) == (2, 3, 2)
    assert (cycle.translation.method, cycle.translation.batch_size) == ("cyclegan", 3)
    assert [one.generation.count for one in (ours, cycle)] == [2500, 7]
    assert [one.generation.seed for one in (ours, cycle)] == [4, 4]
    assert study.settings.rows == 2


def test_the_page_names_who_departs_from_the_budget(write):
    assert list(departures(load_study(write(TWO)))) == []
    departing = TWO.replace("batch_size: 3", "generator_width: 4")
    assert list(departures(load_study(write(departing)))) == [("cycle", "generator_width 4")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TWO.replace("batch_size: 3", "cycel_weight: 3"), r"line 11: unknown key 'translation\.cycel_weight'; did you"),
        (TWO.replace("batch_size: 3", "batch_size: no"), r"system cycle: .*line 11: 'translation\.batch_size'"),
        (TWO.replace("generation:", "masks:"), r"line 6: 'study\.systems': cycle changes 'masks'; a system may change"),
        (TWO.replace("generator_width: 8", "lia: off"), r"line 5: 'study\.budget': 'lia' is not a setting that every"),
        (TWO.replace("  title:", "  titel:"), r"line 4: unknown key 'study\.titel'; did you mean 'title'"),
        (HEAD + "  systems: {}\n", r"name at least one system"),
        (HEAD + "  systems: {../up: {}}\n", r"name of a system: '\.\./up' is refused"),
        (HEAD + "  parts: [masks]\n  systems: {a: {}}\n", r"add images to parts"),
    ],
)
def test_refusals_name_the_line(write, text, words):
    with pytest.raises(UserError, match=words):
        load_study(write(text))


def test_a_study_is_no_experiment(write):
    path = write(TWO)
    assert is_study(path)
    with pytest.raises(UserError, match=r"line 3: 'study' compares several experiments"):
        load_config(path)


def test_equal_systems_are_told_apart_by_their_names(write):
    systems = "  systems: {a: {}, b: {translation: {heads: 4}}, c: {generation: {masks: real}}}\n"
    study = load_study(write(HEAD + systems))
    assert labels_of(study.systems) == {"a": "a", "b": "b", "c": "dl_pix2pix (real masks)"}


def test_a_study_is_read_without_jax():
    code = "import sys, tsgan_jax.study.settings; sys.exit('jax' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
