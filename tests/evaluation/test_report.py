"""The report: one file, nothing fetched, every part shown or said to be missing, readable wide and narrow."""

import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from chests import chests
from trained_run import config_at

from tests.studio.chromium import FOUND as BROWSER
from tsgan_jax.evaluation.records import Record, append
from tsgan_jax.evaluation.report import write_report
from tsgan_jax.evaluation.report.page import number

DIFFERENCE = {"of": [0.39, 0.31], "system": "dl_pix2pix", "too_few": "few nodules"}
RECORDS = [
    Record("similarity", "pix2pix", "full", "PSNR", 20.69, 48, (20.1, 21.2), 11.5),
    Record("similarity", "pix2pix", "lungs", "PSNR", 21.36, 48, (20.9, 21.9), 10.9),
    Record("distance", "pix2pix", "full", "FID", None, 0, reason="evaluation.inception_weights is not set"),
    Record("embedding", "pix2pix", "full", "Mixing-Inception", 0.81, 40),
    Record("masks", "pix2pix", "lung area", "Wasserstein distance", 12.3, 30, (9.0, 15.0), 6.0),
    Record("masks", "pix2pix", "gate", "share accepted", 0.4, 75, floor=0.9, details={"reasons": {"no body": 45}}),
    Record("masks", "pix2pix", "variety", "recall", 0.61, 30, (0.5, 0.7), 0.86),
    *(
        Record("mask sources", "pix2pix", source, metric, value, 30)
        for metric, values in {
            "passes the gate": (0.9, 0.41, 0.83, 0.92),
            "recall": (None, 0.37, 0.72, 0.88),
        }.items()
        for source, value in zip(("real test", "stage 1", "deform", "real training"), values, strict=True)
        if value is not None
    ),
    *(
        Record("mask truncation", "pix2pix", subject, metric, value, 250)
        for metric, values in {"passes the gate": (0.9, 0.6, 0.4), "recall": (0.88, 0.1, 0.37)}.items()
        for subject, value in zip(("real training", "psi 0.6", "psi 1.0"), values, strict=True)
    ),
    Record("adherence", "pix2pix", "left lung", "Dice", 0.94, 30, (0.93, 0.95), 0.97),
    Record("copies", "pix2pix", "ct", "share of copies", 0.1, 30, (0.03, 0.25), 0.0),
    Record("detection", "yolov8n", "real", "mAP50", 0.31, 50, fold=0),
    Record("detection", "yolov8n", "real", "mAP50", 0.35, 50, fold=1),
    Record("detection", "yolov8n", "real+500", "mAP50", 0.39, 50, fold=0),
    Record("detection", "yolov8n", "real+500", "mAP50", 0.41, 50, fold=1),
    Record("detection", "yolov8n", "real+500", "mAP50 - real", 0.08, 50, (0.01, 0.15), fold=0, details=DIFFERENCE),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with an evaluation of every kind, one copy flagged, hostile names in it."""
    run = tmp_path_factory.mktemp("runs") / "tiny <b>&"
    config = config_at(run)
    rng, slices = np.random.default_rng(0), chests(range(4))
    folder = run / "evaluation"
    append(folder / "records.jsonl", RECORDS)
    shown = rng.integers(0, 255, slices.ct.shape).astype(np.uint8)
    np.savez(folder / "translated.npz", mask=slices.mask, real=shown, generated=shown)
    np.savez(folder / "generated.npz", mask=slices.mask, generated=shown)
    np.savez(folder / "embedding.npz", points=rng.normal(size=(80, 2)), is_real=np.arange(80) < 40)
    about = {"name": "000001.png", "seriesuid": "<script>alert(1)</script>", "slice_index": 3}
    about |= {"index": 0, "distance": 0.01, "mirrored": True, "shift": [0.0, 0.1]}
    np.savez(
        folder / "copies_ct.npz",
        distances=np.r_[0.01, rng.uniform(0.1, 0.2, 29)],
        held_out=rng.uniform(0.1, 0.2, 20),
        threshold=0.05,
        generated=shown,
        generated_mask=slices.mask,
        training=shown,
        training_mask=slices.mask,
        about=np.array([json.dumps(about | {"flagged": place == 0}) for place in range(4)]),
    )
    for stage in ("masks", "translation"):
        (run / stage).mkdir()
        rows = [{"images": 10 * i, "critic_loss": 1 / (i + 1), "generator_loss": i, "resolution": 4} for i in range(20)]
        (run / stage / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"cut')
    write_report(run, config)
    return run


def text_of(run: Path) -> str:
    """The page; its lines are joined."""
    return " ".join((run / "report.html").read_text().split())


def test_every_part_is_there(run):
    page = text_of(run)
    for words in ("20.7", "20.1 to 21.2", "Mixing-Inception", "lung area", "40.0 %", "no body 45", "10.0 %", "0.94"):
        assert words in page, words
    for key in ("samples", "training", "images", "masks", "adherence", "copies", "detection", "cards", "config"):
        assert f'id="{key}"' in page and f'href="#{key}"' in page
    assert page.count("<svg") >= 6


def test_precision_and_recall_of_masks_stand_beside_what_real_masks_get(run):
    page = text_of(run)
    row = page[page.index("variety") :].split("</tr>")[0]
    assert "recall" in row and "0.610" in row and "0.500 to 0.700" in row and "0.860" in row


def test_sources_of_masks_stand_side_by_side(run):
    page = text_of(run)
    shown = page[page.index("Masks by their source") :].split("</table>")[0]
    lines = [" ".join(re.sub(r"<[^>]+>", " ", line).split()) for line in shown.split("<tr>")[1:]]
    assert lines == [
        "figure real test n 30 stage 1 n 30 deform n 30 real training n 30",
        "passes the gate share of masks 0.900 0.410 0.830 0.920",
        "recall share – 0.370 0.720 0.880",
    ]


def test_figures_over_the_truncation_are_lines_with_real_masks_dashed(run):
    page = text_of(run)
    shown = page[page.index("<h3>Masks of stage 1 by truncation") :].split("</figure>")[0]
    for words in ("passes the gate", "recall", "real training masks", "truncation psi", "250 masks"):
        assert words in shown, words
    assert "pairwise IoU</text>" not in shown, "not measured, so it has no line"
    assert shown.count("stroke-dasharray: 3.7") == 3  # two figures of real masks, and the legend


def page_of(run: Path, wanted: Callable[[Record], bool], **files: bytes) -> str:
    """The report of a run with some of the records and no logs, so that few plots are drawn; files: arrays by name."""
    append(run / "evaluation" / "records.jsonl", filter(wanted, RECORDS))
    for name, content in files.items():
        (run / "evaluation" / f"{name}.npz").write_bytes(content)
    return write_report(run, config_at(run)).read_text()


def test_without_masks_by_source_or_with_damaged_arrays_the_rest_is_shown(tmp_path):
    page = page_of(tmp_path, lambda one: one.kind not in ("mask sources", "mask truncation"), embedding=b"PK\3\4 cut")
    shown = page[page.index('id="masks"') :].split("</section>")[0]
    assert "lung area" in shown and "by their source" not in shown and "by truncation" not in shown
    assert "Image quality" in page and "<h3>t-SNE" not in page


def test_masks_of_stage_1_are_shown_without_a_set(tmp_path):
    page = page_of(tmp_path, lambda one: one.kind != "masks")
    shown = page[page.index('id="masks"') :].split("</section>")[0]
    assert "Not evaluated yet" in shown and "Masks by their source" in shown and "by truncation" in shown


def test_what_is_missing_is_told_with_its_reason(run):
    assert "Missing figures" in text_of(run)
    assert "None could be computed: </span>evaluation.inception_weights is not set." in text_of(run)


def test_the_flagged_pair_is_shown_with_both_slices(run):
    page = text_of(run)
    pair = page[page.index('class="pair flagged"') :].split("</figure>")[0]
    assert pair.count("<img") == 4 and "mirrored" in pair and "shifted by 0 % and 10 %" in pair
    assert page.count('class="pair flagged"') == 1


def test_detection_has_mean_spread_and_the_warning_of_yolov5u(run):
    page = text_of(run)
    assert "0.33" in page and "2 folds" in page and "YOLOv5u" in page
    assert "mAP50 over synthetic images added" in page


def test_differences_from_real_images_have_both_terms_and_warnings(run):
    page = text_of(run)
    shown = page[page.index("Difference from real images only") :].split("</table>")[0]
    words = " ".join(re.sub(r"<[^>]+>", " ", shown).split())
    assert "yolov8n real+500 synthetic by TSGAN (DL-Pix2Pix) – – 0.0800 0.390 − 0.310 0.0100 to 0.150 – 50" in words
    assert '<span class="flag">Beware: </span>few nodules' in page


def test_the_model_card_states_uses_limits_and_licences(run):
    page = text_of(run)
    for words in ("Intended use", "Not for", "AGPL-3.0", "separate process", "LIDC-IDRI", "not a guarantee of privacy"):
        assert words in page, words


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "img", "path", "use", "rect"):
            self.open.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href", "action", "data")]

    def handle_endtag(self, tag):
        if tag not in ("path", "use", "rect"):
            assert self.open and self.open.pop() == tag, tag


def test_it_is_whole_and_fetches_nothing(run):
    reader = _Reader()
    reader.feed(text_of(run))
    assert not reader.open
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in reader.links)
    assert not re.search(r"url\((?!#)|@import", text_of(run))
    assert "default-src 'none'" in text_of(run)


def test_names_from_outside_are_text(run):
    assert "<script>" not in text_of(run) and "&lt;script&gt;" in text_of(run) and "<b>&" not in text_of(run)


def test_a_run_without_an_evaluation_has_a_report_that_says_so(tmp_path):
    page = write_report(tmp_path / "bare", config_at(tmp_path / "bare")).read_text()
    assert page.count("Not evaluated yet") >= 4 and "No detector has been trained" in page


def test_numbers_are_short():
    shown = [number(value) for value in (0.12345, 12.345, 123.45, 12345.6, 0.00001234, 0.0, 0.8)]
    assert shown == ["0.123", "12.3", "123.5", "12346", "1.2e-05", "0", "0.800"]
    assert number(0.256, "share of copies") == "25.6 %"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 500])  # 500: the narrowest window that headless Chromium opens
def test_a_browser_shows_it_without_sideways_scrolling(run, tmp_path, width):
    """A script, added for the test alone, writes what the browser laid out into the page's title."""
    probe = (
        "<script>addEventListener('load',()=>{document.title=[document.documentElement.scrollWidth,innerWidth,"
        "[...document.images].every(i=>i.complete&&i.naturalWidth>0),document.querySelectorAll('svg').length,"
        "[...document.querySelectorAll('svg')].every(s=>s.getBoundingClientRect().width>150)].join()})</script></body>"
    )
    page = re.sub(r"<meta http-equiv[^>]*>", "", text_of(run)).replace("</body>", probe).replace(' loading="lazy"', "")
    (tmp_path / "page.html").write_text(page)
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},900",
        "--dump-dom",
        (tmp_path / "page.html").as_uri(),
    ]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    laid_out, window, pictures, charts, visible = re.search(r"<title>(.*?)</title>", dumped)[1].split(",")
    assert int(laid_out) <= int(window) == width
    assert pictures == "true" and int(charts) >= 6 and visible == "true"
