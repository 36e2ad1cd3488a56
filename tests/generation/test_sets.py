"""A set on disk: one form, nothing half-written, finished images kept, other sets refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tsgan_jax import images
from tsgan_jax.errors import UserError
from tsgan_jax.generation import coco
from tsgan_jax.generation.manifest import read_manifest, refuse_changed, write_manifest
from tsgan_jax.generation.sets import SetDirectory, SetImage
from tsgan_jax.labels import NODULE, PALETTE

SOURCE = {"seed": 1, "window": [-1000.0, 400.0], "weights": {"masks": "a1"}}
VERSIONS = {"jax": "1"}


def labelled(index):
    rng = np.random.default_rng(index)
    mask = np.ones((12, 16), np.uint8)
    mask[2:6, 3 : 5 + index % 4] = NODULE
    hu = rng.integers(-1000, 400, (12, 16)).astype(np.int16)
    return SetImage(rng.integers(0, 256, (12, 16), dtype=np.uint8), hu, mask, 1.5)


def directory(out, source=SOURCE, versions=VERSIONS, **kwargs):
    return SetDirectory(out, source, versions, coco.SYNTHETIC, **kwargs)


def make(out, indices, source=SOURCE, finish=True, **kwargs):
    with directory(out, source, **kwargs) as made:
        todo = [i for i in indices if i not in made.records]
        for index in todo:
            if index % 5 == 4:
                made.reject(index, refused=[["no lung"]])
            else:
                made.add(index, f"{index:06d}", labelled(index), attempt=0)
        if finish:
            made.finish()
        return todo


def tree(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_a_set_holds_what_was_added(tmp_path):
    make(tmp_path, range(6))
    kept = [0, 1, 2, 3, 5]
    for folder in ("images", "hu", "masks", "colour"):
        assert sorted(p.name for p in (tmp_path / folder).iterdir()) == [f"{i:06d}.png" for i in kept]
    for i in kept:
        assert np.array_equal(images.read_png(tmp_path / "images" / f"{i:06d}.png"), labelled(i).shown)
        assert np.array_equal(images.read_hu(tmp_path / "hu" / f"{i:06d}.png"), labelled(i).hu)
        assert np.array_equal(images.read_mask(tmp_path / "masks" / f"{i:06d}.png"), labelled(i).mask)
    annotations = coco.read(tmp_path / "annotations.json")
    assert [image["id"] for image in annotations["images"]] == [i + 1 for i in kept]
    assert [a["bbox"] for a in annotations["annotations"]] == [[3, 2, 2 + i % 4, 4] for i in kept]
    manifest = read_manifest(tmp_path)
    assert manifest["complete"] and manifest["made_from"] == SOURCE and manifest["objects"] == 5
    assert manifest["pixels"]["hu"] == "value - 1024 is HU" and manifest["pixels"]["masks"]["5"] == "nodule"
    assert [r["index"] for r in manifest["images"]] == list(range(6))
    assert manifest["images"][4] == {"index": 4, "accepted": False, "refused": [["no lung"]]}
    files = ["annotations.json", "index.html", "manifest.jsonl", "sheet.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*files, "colour", "hu", "images", "masks"])


def test_images_are_counted_while_threads_add_more(tmp_path):
    """Often enough for one to be added in the middle of a count."""
    with directory(tmp_path) as made, ThreadPoolExecutor(1) as pool:
        made.records.update((i, {"index": i, "accepted": True}) for i in range(10_000, 20_000))
        adding = pool.submit(lambda: [made.reject(i) for i in range(2_000)])
        while not adding.done():
            accepted, rejected = made.counted()
            assert accepted == 10_000 and rejected <= 2_000
        adding.result()
        assert made.counted() == (10_000, 2_000)


def test_an_interrupted_set_is_finished_to_the_same_bytes(tmp_path):
    make(tmp_path / "whole", range(7))
    make(tmp_path / "parts", range(3), finish=False)
    assert not (tmp_path / "parts" / "annotations.json").exists()
    assert make(tmp_path / "parts", range(7)) == [3, 4, 5, 6]
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_a_set_can_be_extended_and_is_the_same_as_one_made_at_once(tmp_path):
    make(tmp_path / "whole", range(7))
    make(tmp_path / "parts", range(3))
    assert make(tmp_path / "parts", range(7)) == [3, 4, 5, 6]
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_a_finished_set_is_left_alone(tmp_path):
    make(tmp_path, range(3))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*/*.png")}
    assert make(tmp_path, range(3)) == []
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*/*.png")} == before


@pytest.mark.parametrize("folder", ["images", "hu", "masks", "colour"])
@pytest.mark.parametrize("harm", ["removed", "changed"])
def test_a_harmed_image_is_made_again(tmp_path, folder, harm):
    make(tmp_path, range(3))
    whole = tree(tmp_path)
    path = tmp_path / folder / "000001.png"
    path.unlink() if harm == "removed" else path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with directory(tmp_path) as opened:
        assert opened.damaged == 1 and set(opened.records) == {0, 2}
    assert not (tmp_path / "annotations.json").exists()
    assert make(tmp_path, range(3)) == [1]
    assert tree(tmp_path) == whole


@pytest.mark.parametrize("harm", ["cut", "removed"])
def test_harmed_annotations_are_written_again(tmp_path, harm):
    make(tmp_path, range(3))
    whole = tree(tmp_path)
    path = tmp_path / "annotations.json"
    path.unlink() if harm == "removed" else path.write_bytes(path.read_bytes()[:-20])
    assert make(tmp_path, range(3)) == []
    assert tree(tmp_path) == whole


def test_what_a_kill_leaves_behind_is_cleared(tmp_path):
    make(tmp_path / "whole", range(4))
    parts = tmp_path / "parts"
    make(parts, range(2), finish=False)
    with (parts / "journal.jsonl").open("a") as journal:
        journal.write('{"index": 2, "accepted": tr')
    (parts / "images" / ".part-1-1-000002.png").write_bytes(b"half")
    (parts / ".part-1-1-manifest.jsonl").write_bytes(b"half")
    assert make(parts, range(4)) == [2, 3]
    assert tree(parts) == tree(tmp_path / "whole")


def test_a_kill_before_the_first_manifest_is_no_obstacle(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "journal.jsonl").write_bytes(b"")
    (tmp_path / ".part-1-1-manifest.jsonl").write_bytes(b"half")
    assert make(tmp_path, range(2)) == [0, 1]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seed": 2}, "seed: 1 in the set, 2 requested"),
        ({"weights": {"masks": "b2"}}, "weights.masks: a1 in the set, b2 requested"),
    ],
)
def test_a_set_of_another_source_is_refused_with_the_difference(tmp_path, change, line):
    make(tmp_path, range(2))
    before = tree(tmp_path)
    with pytest.raises(UserError, match=line):
        make(tmp_path, range(2), {**SOURCE, **change})
    assert tree(tmp_path) == before


def test_other_software_may_finish_a_set_and_is_recorded(tmp_path):
    make(tmp_path, range(2), versions={"jax": "1"})
    make(tmp_path, range(4), versions={"jax": "2"})
    assert read_manifest(tmp_path)["versions"] == [{"jax": "1"}, {"jax": "2"}]


def test_without_resume_a_begun_set_is_refused(tmp_path):
    make(tmp_path, range(2), finish=False)
    with pytest.raises(UserError, match="already exists"):
        make(tmp_path, range(2), resume=False)


@pytest.mark.parametrize("stranger", ["thesis.tex", "images/holiday.png"])
def test_a_directory_with_other_files_is_refused(tmp_path, stranger):
    (tmp_path / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / stranger).write_bytes(b"mine")
    with pytest.raises(UserError, match="is not a set"):
        make(tmp_path, range(2))
    assert tree(tmp_path) == {stranger: b"mine"}


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "set").write_bytes(b"mine")
    with pytest.raises(UserError, match="is a file"):
        make(tmp_path / "set", range(2))


def test_two_writers_at_once_are_refused(tmp_path):
    with directory(tmp_path), pytest.raises(UserError, match="another process"):
        make(tmp_path, range(2))
    assert make(tmp_path, range(2)) == [0, 1]


def test_a_manifest_that_leads_elsewhere_is_refused(tmp_path):
    make(tmp_path / "set", range(2))
    manifest = read_manifest(tmp_path / "set")
    manifest["images"][0]["file_name"] = "../../evil.png"
    write_manifest(tmp_path / "set", manifest)
    with pytest.raises(UserError, match="evil.png' is refused"):
        make(tmp_path / "set", range(2))


@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.json"])
@pytest.mark.parametrize("content", ["", "[]", "{}", "{", '{"made_from": 3}'])
def test_a_foreign_manifest_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=name):
        make(tmp_path, range(2))


def test_a_name_that_leads_elsewhere_is_not_written(tmp_path):
    with directory(tmp_path / "set") as opened, pytest.raises(UserError, match="refused"):
        opened.add(0, "../evil", labelled(0))
    assert not [p for p in tree(tmp_path) if p.endswith(".png")]


def test_a_full_disk_leaves_whole_images_only(tmp_path, monkeypatch):
    make(tmp_path / "whole", range(4))
    parts = tmp_path / "parts"

    def full(path, hu, **how):
        raise OSError(28, "No space left on device")

    with directory(parts) as opened:
        opened.add(0, "000000", labelled(0), attempt=0)
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(images, "write_hu", full)
            opened.add(1, "000001", labelled(1), attempt=0)
        assert set(opened.records) == {0}
    assert not list(parts.rglob(".part-*"))
    assert make(parts, range(4)) == [1, 2, 3]
    assert tree(parts) == tree(tmp_path / "whole")


def test_small_specks_have_no_box_and_are_counted(tmp_path):
    speck = labelled(0)
    mask = speck.mask.copy()
    mask[10, 10] = NODULE
    with directory(tmp_path) as opened:
        opened.add(0, "000000", replace(speck, mask=mask))
        manifest = opened.finish()
    assert (manifest["objects"], manifest["specks_dropped"]) == (1, 1)


def test_the_same_networks_from_other_checkpoint_files_finish_a_set(tmp_path):
    make(tmp_path, range(2), {**SOURCE, "parents": {"masks": {"sha256": "one"}}})
    make(tmp_path, range(4), {**SOURCE, "parents": {"masks": {"sha256": "two"}}})
    assert read_manifest(tmp_path)["complete"]


def as_before(out):
    """Give a set the form that sets had before: one JSON as manifest, indexed masks, no colours, no pages."""
    manifest = read_manifest(out)
    del manifest["formats"], manifest["pages"]
    for record in filter(lambda record: record["accepted"], manifest["images"]):
        (out / "colour" / record["file_name"]).replace(out / "masks" / record["file_name"])  # what masks were
        record["sha256"]["masks"] = record["sha256"].pop("colour")
    (out / "colour").rmdir()
    for name in ("manifest.jsonl", "index.html", "sheet.png"):
        (out / name).unlink()
    (out / "manifest.json").write_text(json.dumps(manifest))


def test_a_set_of_before_is_read_and_continued(tmp_path):
    make(tmp_path / "whole", range(7))
    old = tmp_path / "old"
    make(old, range(3))
    as_before(old)
    refuse_changed(old, read_manifest(old))
    assert Image.open(old / "masks" / "000001.png").mode == "P"
    assert np.array_equal(images.read_mask(old / "masks" / "000001.png"), labelled(1).mask)
    assert make(old, range(7)) == [3, 4, 5, 6]
    refuse_changed(old, read_manifest(old))
    assert not (old / "manifest.json").exists()
    names = ("annotations.json", "sheet.png", "hu/000001.png", "masks/000005.png", "colour/000005.png")
    assert all((old / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names)


def test_the_only_json_is_coco(tmp_path):
    """Converters read every one that they find."""
    make(tmp_path, range(3))
    assert [path.name for path in tmp_path.glob("*.json")] == ["annotations.json"]


def test_masks_are_grey_and_read_as_codes(tmp_path):
    make(tmp_path, range(1))
    with Image.open(tmp_path / "masks" / "000000.png") as mask, Image.open(tmp_path / "colour" / "000000.png") as shown:
        assert mask.mode == "L" and np.array_equal(np.asarray(mask), labelled(0).mask)
        assert np.array_equal(np.asarray(shown.convert("RGB")), PALETTE[labelled(0).mask])
