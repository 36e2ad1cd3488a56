"""Sets on request: every image is a function of the request, the seed and its index; the manifest and COCO say all."""

import json

import numpy as np
import pytest

import tsgan_jax
from tests.evaluation.chests import PIXEL_MM, chests
from tsgan_jax.cli import evaluate, generate
from tsgan_jax.errors import UserError
from tsgan_jax.generation.manifest import read_manifest
from tsgan_jax.generation.requests import SIZE_MM, Request, requested_masks
from tsgan_jax.generation.sources import real_masks
from tsgan_jax.images import read_hu, read_mask
from tsgan_jax.labels import LEFT_LUNG, NODULE
from tsgan_jax.masks.nodules import nodules_of
from tsgan_jax.masks.places import PLACES, located

CHESTS = chests(range(6))


def source_of(request, seed=3, bank=()):
    return requested_masks(real_masks(CHESTS, seed), request, seed, bank)


def drawn(source, indices, attempt=0):
    """Masks of the images, as requested."""
    masks = source.draw(attempt, indices)
    return [source.redraw(attempt, index, mask) for index, mask in zip(indices, masks, strict=True)]


def test_balance_gives_every_combination_once_a_round():
    request = Request(nodules=(1, 3), diameter_mm=(4, 12), balance=("size", "place"), side="left")
    bins = request.bins()
    assert [b.diameter_mm for b in bins[::3]] == [(4, 6), (6, 8), (8, 12)] and len(bins) == 9
    orders = []
    for turn in range(3):
        images = [request.of_image(5, index) for index in range(9 * turn, 9 * turn + 9)]
        assert {len(nodules) for nodules in images} <= {1, 2, 3}
        keys = [{(int(np.digitize(n.diameter_mm, SIZE_MM)), n.side, n.place) for n in nodules} for nodules in images]
        assert all(len(key) == 1 for key in keys), "the nodules of an image are of one bin"
        order = [key.pop() for key in keys]
        assert len(set(order)) == 9 and {side for _, side, _ in order} == {"left"}
        orders.append(order)
    assert orders[0] != orders[1]
    assert len(Request(balance=("size", "side", "place")).bins()) == 18
    assert len(Request(diameter_mm=(8, 8), balance=("size",)).bins()) == 1


def test_numbers_and_diameters_are_in_their_ranges():
    nodules = [Request(nodules=(2, 4), diameter_mm=(5, 9)).of_image(0, index) for index in range(60)]
    assert {len(some) for some in nodules} == {2, 3, 4}
    sizes = np.array([one.diameter_mm for some in nodules for one in some])
    assert 5 <= sizes.min() < 5.4 and 8.6 < sizes.max() <= 9


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodules": (0, 2)}, "nodules 0-2: expected 1 to 8"),
        ({"nodules": (3, 1)}, "nodules 3-1"),
        ({"diameter_mm": (2, 12)}, "diameter 2-12 mm: expected 3-30 mm"),
        ({"diameter_mm": (9, 8)}, "diameter 9-8 mm"),
        ({"diameter_mm": (float("nan"), 8)}, "diameter nan-8 mm"),
        ({"side": "top"}, "side 'top': expected left, right or any"),
        ({"place": "apical"}, "place 'apical'"),
        ({"balance": ("texture",)}, "balance 'texture': expected some of size, side, place"),
        ({"balance": ("size", "size")}, "each once"),
        ({"side": "left", "balance": ("side",)}, "side is left and balanced"),
    ],
)
def test_what_cannot_be_drawn_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Request(**fields)


def test_a_grid_too_coarse_is_told():
    assert Request(diameter_mm=(6, 12)).coarse(0.7) is None
    assert "diameters below 5.5 mm are drawn with that one" in Request(diameter_mm=(4, 12)).coarse(2.8125)
    with pytest.raises(UserError, match=r"smallest nodule of a mask is 5\.5 mm; request larger"):
        Request(diameter_mm=(3, 5)).coarse(2.8125)


@pytest.mark.parametrize("bank", [(), tuple(n for m in CHESTS.mask for n in nodules_of(m, PIXEL_MM))])
def test_a_mask_depends_on_the_seed_the_index_and_the_request_alone(bank):
    request = Request(nodules=(1, 2), diameter_mm=(10, 14), side="right", place="juxtapleural")
    all_at_once = [one.mask for one in drawn(source_of(request, bank=bank), list(range(8)))]
    for index in (7, 2):
        np.testing.assert_array_equal(drawn(source_of(request, bank=bank), [index])[0].mask, all_at_once[index])
    assert not np.array_equal(drawn(source_of(request, seed=4, bank=bank), [2])[0].mask, all_at_once[2])
    assert not np.array_equal(drawn(source_of(request, bank=bank), [2], attempt=1)[0].mask, all_at_once[2])


def test_facts_have_each_nodule_as_requested_and_in_the_mask():
    source = source_of(Request(nodules=(1, 2), diameter_mm=(10, 14), side="left", place="juxtapleural"))
    for index, (mask, lacking, facts) in enumerate(drawn(source, list(range(6)))):
        assert lacking == ()
        assert "seriesuid" in source.facts(index)["mask_of"]
        found = located(mask, PIXEL_MM)
        assert len(found) == len(facts["nodules"])
        for one in facts["nodules"]:
            assert any(one["in_mask"]["centre"] == nodule.centre for nodule in found)
            assert (one["in_mask"]["side"], one["in_mask"]["place"]) == ("left", "juxtapleural")
            assert abs(one["in_mask"]["diameter_mm"] - one["requested"]["diameter_mm"]) < 0.2 * PIXEL_MM + 1
    request = source.made_from["request"]
    assert request["side"] == "left" and request["shapes"] == {"kind": "random"}
    assert json.dumps(source.made_from)


def test_a_mask_without_room_is_lacking_and_has_no_nodule():
    source = real_masks(CHESTS, 0)
    masks = source.draw(0, [0])
    masks[masks == LEFT_LUNG] = 1
    lone = requested_masks(
        type(source)(**{**vars(source), "draw": lambda attempt, indices: masks}), Request(side="left"), 0, ()
    )
    [(mask, lacking, _)] = drawn(lone, [0])
    assert not (mask == NODULE).any()
    assert lacking == ("no room: side left, place any",)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("requests") / "set"
    arguments = ["--network", "phantom-64", "--count", "6", "--seed", "2", "--out", str(out)]
    wanted = ["--nodules", "1-2", "--diameter-mm", "11-15", "--side", "right", "--balance", "place"]
    assert generate.main(arguments + wanted) == 0
    return out


def test_the_command_makes_what_was_requested(made):
    manifest = read_manifest(made)
    assert manifest["made_from"]["request"]["nodules"] == [1, 2]
    places = [record["nodules"][0]["requested"]["place"] for record in manifest["images"] if record["accepted"]]
    assert sorted(places) == sorted([*PLACES, *PLACES])
    tree = json.loads((made / "annotations.json").read_text())
    for record in manifest["images"]:
        objects = [one for one in tree["annotations"] if one["image_id"] == record["index"] + 1]
        drawn = [one["in_mask"] for one in record["nodules"]]
        assert len(objects) == len(drawn)
        assert sorted((one["diameter_mm"], one["side"], one["place"]) for one in objects) == sorted(
            (round(one["diameter_mm"], 2), "right", record["nodules"][0]["requested"]["place"]) for one in drawn
        )


def test_python_gives_the_same_pairs(made):
    request = tsgan_jax.Request(nodules=(1, 2), diameter_mm=(11.0, 15.0), side="right", balance=("place",))
    pairs = tsgan_jax.load_run("phantom-64").pairs(seed=2, indices=[4, 1], request=request)
    assert sorted(pairs.indices) == [1, 4]
    for index, mask, ct, facts in zip(*pairs, strict=True):
        np.testing.assert_array_equal(mask, read_mask(made / "masks" / f"{index:06d}.png"))
        np.testing.assert_array_equal(np.round(ct), read_hu(made / "hu" / f"{index:06d}.png"))
        assert json.loads(json.dumps(facts))["nodules"] == read_manifest(made)["images"][index]["nodules"]


def test_the_set_is_compared_with_its_request(made, capsys):
    assert evaluate.main(["--set", str(made)]) == 0
    printed = capsys.readouterr().out
    assert "| 8-15 mm | right | central | " in printed and "| all |" in printed


def test_what_the_command_refuses(made, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x")]
    for arguments, message in (
        (["--texture", "solid"], "cannot be had: masks have one class of nodules"),
        (["--nodules", "some"], "'some' is not a number, nor two"),
        (["--side", "top"], "invalid choice"),
    ):
        with pytest.raises(SystemExit):
            generate.main(["--network", "luna16-128", *out, *arguments])
        assert message in capsys.readouterr().err
    for arguments, message in (
        (["--network", "luna16-128", *out, "--balance", "size,texture"], "balance 'texture'"),
        (["--network", "luna16-128", *out, "--diameter-mm", "40"], "diameter 40-40 mm"),
        (["--set", str(made), "--format", "yolo", "--side", "left"], "--side: has no effect"),
    ):
        assert generate.main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    for arguments in ([], ["--set", str(made), "--tables"]):
        assert evaluate.main(arguments) == 2
        assert "give --run DIR" in capsys.readouterr().err
