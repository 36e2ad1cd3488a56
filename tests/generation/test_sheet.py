"""sheet.png shows nodules outlined where they are; index.html needs nothing but the set."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.generation.test_formats import make
from tsgan_jax.generation import sheet
from tsgan_jax.generation.coco import read


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("sheets") / "set", 50)


def test_the_sheet_is_a_sample_with_outlines_at_the_nodules(made):
    page = np.asarray(Image.open(made / "sheet.png")).astype(int)
    assert page.shape == (6 * 196 - 4, 8 * 196 - 4, 3)
    red = (page == sheet.INK).all(axis=2)
    tree, scale = read(made / "annotations.json"), 192 / 48
    for place in range(48):  # of 50 slices
        image = tree["images"][place * 50 // 48]
        y, x = place // 8 * 196, place % 8 * 196
        tile = red[y : y + 192, x : x + 192]
        boxes = [a["bbox"] for a in tree["annotations"] if a["image_id"] == image["id"]]
        assert tile.any() == bool(boxes)
        if len(boxes) == 1:
            rows, columns = np.nonzero(tile)
            (left, top, width, height) = (scale * value for value in boxes[0])
            found = (columns.min(), rows.min(), columns.max(), rows.max())
            np.testing.assert_allclose(found, (left, top, left + width, top + height), atol=1)


def test_the_page_has_every_slice_and_its_links_lead_to_files(made):
    page = (made / "index.html").read_text()
    assert "<script" not in page and "http://" not in page and "https://" not in page
    assert "not for diagnosis" in page
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) > 50 * 5 and all((made / link).exists() for link in links)
    assert page.count("<polygon") == len(read(made / "annotations.json")["annotations"])


def test_an_empty_set_has_a_page_and_no_sheet(tmp_path):
    make(tmp_path / "set", 0)
    assert not (tmp_path / "set" / "sheet.png").exists()
    assert "0 synthetic CT slices" in (tmp_path / "set" / "index.html").read_text()


def test_a_large_set_shows_its_first(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "SHOWN", 2)
    make(tmp_path / "set", 3)
    page = (tmp_path / "set" / "index.html").read_text()
    assert page.count("<figure>") == 2 and "The first 2." in page and "3 synthetic CT slices" in page
