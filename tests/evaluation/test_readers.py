"""Readers: the page and its key agree, answers are scored, the automatic reader sees what is there and no more."""

import base64
import io
import json
import re
import subprocess
from functools import partial
from html import unescape

import numpy as np
import pytest
from chests import chests
from PIL import Image
from scipy.stats import binomtest
from trained_run import config_at

from tests.studio.chromium import FOUND as BROWSER
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import readers
from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.sources import GeneratedSlice, evenly
from tsgan_jax.evaluation.subject import Subject
from tsgan_jax.images import to_uint8

WINDOW = (-1000.0, 400.0)
TEST = chests(range(20, 32))


class Made(list):
    """A set in memory."""

    sha256 = "ab"

    def spread(self, count):
        return (self[place] for place in evenly(len(self), count))


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    run = tmp_path_factory.mktemp("read") / "run"
    subject = Subject(run, config_at(run), say=lambda line: None)
    slices = chests(range(40, 50))
    subject.test, subject.training = TEST, chests(range(12))
    subject.generated = Made(
        GeneratedSlice(f"{k}.png", mask, hu, 5.0)
        for k, (mask, hu) in enumerate(zip(slices.mask, slices.ct, strict=True))
    )
    return subject


@pytest.fixture(scope="module")
def page(subject):
    """(page's text, key) of four slices of each kind."""
    path = readers.write_reading(subject, half=4)
    return path.read_text(), json.loads(path.with_suffix(".key.json").read_text())


def answered(tmp_path, key, answers, reader="Ada"):
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({"page": key["page"], "reader": reader, "answers": answers}))
    return path


def test_the_pages_slices_are_those_of_its_key(subject, page):
    text, key = page
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in re.findall(r"png;base64,([^\"]+)", text)
    ]
    real = {uid: to_uint8(hu, WINDOW) for uid, hu in zip(TEST.seriesuid, TEST.ct, strict=True)}
    made = {one.name: to_uint8(one.hu, WINDOW) for one in subject.generated}
    assert sorted(key["kinds"]) == ["real"] * 4 + ["synthetic"] * 4
    for pixels, kind, name in zip(shown, key["kinds"], key["names"], strict=True):
        assert np.array_equal(pixels, (real if kind == "real" else made)[name])
    assert not any(name in text for name in key["names"]), "the page does not tell"
    assert "http" not in text.replace("http-equiv", "")
    assert readers.write_reading(subject).name != f"{key['page']}.html", "another page does not replace it"


def test_answers_are_scored_with_intervals(subject, page, tmp_path):
    key = page[1]
    wrong = key["kinds"].index("synthetic")
    answers = [None if place == key["kinds"].index("real") else kind for place, kind in enumerate(key["kinds"])]
    answers[wrong] = "real"
    found = {r.metric: r for r in readers.score(subject.run, answered(tmp_path, key, answers))}
    assert {(r.subject, r.kind) for r in found.values()} == {("reader Ada", "readers")}
    assert (found["accuracy"].value, found["accuracy"].n) == (6 / 7, 7)
    assert found["accuracy"].interval == pytest.approx(tuple(binomtest(6, 7).proportion_ci(method="wilson")))
    assert (found["sensitivity to synthetic"].value, found["specificity"].value) == (3 / 4, 1.0)
    none = readers.score(subject.run, answered(tmp_path, key, [None] * 8))
    assert all(r.value is None and r.reason == "no slice was judged" for r in none)


BY_KEYS = """<script>
const press = key => document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
for (const key of ["r", "S", "ArrowRight", "s", "s", "r", "s", "r", "r", "ArrowLeft", "ArrowLeft", "s"]) press(key);
window.Blob = class { constructor(parts) { document.title = parts.join(""); } };
URL.createObjectURL = () => "#";
document.querySelector("[name=reader]").value = " Ada ";
document.querySelector("#save button").click();
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_saves_answers_given_by_keys(subject, page, tmp_path):
    """The saved text is written into the page's title by a script that is added for the test alone."""
    text, key = page
    (tmp_path / "page.html").write_text(text.replace("</body>", BY_KEYS))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command = [str(BROWSER), *options, (tmp_path / "page.html").as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    saved = json.loads(unescape(re.search(r"<title>(.*?)</title>", dumped, re.DOTALL)[1]))
    r, s = "real", "synthetic"
    assert saved == {"page": key["page"], "reader": "Ada", "answers": [r, s, None, s, s, s, s, r]}
    (tmp_path / "answers.json").write_text(json.dumps(saved))
    assert readers.score(subject.run, tmp_path / "answers.json")[0].n == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"page": "0" * 16}, "of the page '0000000000000000', whose key is not in"),
        ({"page": ["a"]}, "whose key is not in"),
        ({"reader": " "}, "reader is ' '"),
        ({"reader": "a\nb"}, "expected a name"),
        ({"answers": ["real"]}, "expected 8 answers"),
        ({"answers": ["real"] * 7 + [["real"]]}, "expected 8 answers"),
    ],
)
def test_answers_that_are_none_are_refused(subject, page, tmp_path, change, message):
    path = answered(tmp_path, page[1], page[1]["kinds"])
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        readers.score(subject.run, path)
    path.write_text("[]")
    with pytest.raises(UserError, match="not a file that a page"):
        readers.score(subject.run, path)


def measured(generated, other=range(60, 84)):
    real, others = chests(range(24)), chests(other)
    rows = [readers.traits(to_uint8(hu, WINDOW) for hu in ct) for ct in (real.ct, generated, others.ct)]
    record = partial(Record, "readers", "ours", "automatic")
    return readers.measure_automatic(record, *rows, real.seriesuid, others.seriesuid, 50)


def test_the_automatic_reader_is_at_chance_on_equal_slices_and_sees_a_texture():
    honest = chests(range(100, 124)).ct
    equal = measured(honest)
    assert 0.25 < equal.value < 0.75 and 0.25 < equal.floor < 0.75
    assert equal.interval[0] <= 0.5 <= equal.interval[1]
    striped = measured(honest + (np.arange(64) % 2 * 60).astype(np.int16))
    assert striped.value > 0.9 and striped.interval[0] > striped.floor == equal.floor
    assert striped.interval[0] < striped.value, "no certainty from a few slices"


def test_slices_of_one_scan_are_in_one_half_and_too_few_are_told(subject):
    scans = [f"scan{k % 5}" for k in range(20)]
    half = readers._half(scans)
    assert all(half[k] == half[k % 5] for k in range(20)) and 0 < half.sum() < 20
    (record,) = readers.automatic(subject)
    assert record.value is not None and record.n == 22
    rows = readers.traits(to_uint8(hu, WINDOW) for hu in TEST.ct[:3])
    make = partial(Record, "readers", "ours", "automatic")
    alone = readers.measure_automatic(make, rows, rows, rows, ["a"] * 3, ["b"] * 3, 5)
    assert alone.value is None and "two or more test scans" in alone.reason
