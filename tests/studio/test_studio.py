"""bin/studio: what its server gives and refuses, and the page driven in a headless Chromium."""

import base64
import http.client
import json
import threading

import numpy as np
import pytest
from PIL import Image

from tests.studio.chromium import FOUND, Browser
from tsgan_jax import load_run
from tsgan_jax.generation import packed
from tsgan_jax.generation.labelled import open_set
from tsgan_jax.images import read_hu, read_mask
from tsgan_jax.labels import NODULE, RIGHT_LUNG
from tsgan_jax.studio.answers import MOST_BYTES, Studio
from tsgan_jax.studio.server import TOKEN_HEADER, Server

NETWORK = "phantom-64"
SIDE = 64


@pytest.fixture(scope="module")
def networks():
    return load_run(NETWORK)


@pytest.fixture(scope="module")
def server(networks, tmp_path_factory):
    out = tmp_path_factory.mktemp("studio") / "set"
    with Server(Studio(networks, NETWORK, packed.shipped(NETWORK), out)) as server:
        server.out = out
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def send(server, method, path, body=None, **headers):
    """Status and content.  headers: with _ for -; None leaves one out."""
    given = {"Content-Type": "application/json", TOKEN_HEADER: server.token}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=120)
    connection.request(method, path, body, {name: value for name, value in given.items() if value is not None})
    answer = connection.getresponse()
    return answer.status, answer.read()


def ask(server, name, **request):
    status, content = send(server, "POST", f"/api/{name}", json.dumps(request))
    return status, json.loads(content)


def as_mask(text):
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(SIDE, SIDE)


def as_text(array):
    return base64.b64encode(array.tobytes()).decode()


def test_a_drawn_pair_is_that_of_generate_and_a_walk_ends_there(server, networks):
    pairs = networks.pairs(3, [0, 1], truncation=1.0)
    ends = [{"seed": 3, "index": index, "truncation": 1.0} for index in (0, 1)]
    for mask, ct, end, share in zip(pairs.masks, pairs.ct, ends, (0.0, 1.0), strict=True):
        status, drawn = ask(server, "draw", **end)
        assert status == 200 and drawn["pixel_mm"] == networks.trained.pixel_mm
        np.testing.assert_array_equal(as_mask(drawn["mask"]), mask)
        made = ask(server, "ct", mask=drawn["mask"], seed=3, index=end["index"], origin=drawn["origin"])[1]
        hu = np.frombuffer(base64.b64decode(made["hu"]), "<i2").reshape(SIDE, SIDE)
        np.testing.assert_array_equal(hu, np.rint(ct))
        assert made["refused"] == []
        walked = ask(server, "walk", first=ends[0], second=ends[1], share=share)[1]
        assert (as_mask(walked["mask"]) != mask).mean() < 0.002  # a program of its own: an edge may round otherwise
    half, mixed = (
        as_mask(ask(server, "walk", first=ends[0], second=ends[1], share=share, second_from=since)[1]["mask"])
        for share, since in ((0.5, None), (0.0, 4))
    )
    for mask in pairs.masks:
        assert (half != mask).mean() > 0.01 and (mixed != mask).mean() > 0.01


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({TOKEN_HEADER: None}, 403, "started anew"),
        ({TOKEN_HEADER: "wrong"}, 403, "started anew"),
        ({TOKEN_HEADER: "\u00e9"}, 403, "started anew"),
        ({"Host": "evil.example:{port}"}, 403, "by that name"),
        ({"Host": "127.0.0.1:1"}, 403, "by that name"),
        ({"Content-Type": "text/plain"}, 415, "JSON"),
        ({"Content-Length": "999999999999999999999"}, 413, "larger than"),
        ({"Content-Length": "-1"}, 411, "how long"),
    ],
)
def test_requests_that_are_not_the_pages_are_refused(server, headers, status, said):
    headers = {name: value and value.format(port=server.server_port) for name, value in headers.items()}
    found, content = send(server, "POST", "/api/facts", "{}", **headers)
    assert found == status and said in json.loads(content)["error"]


def test_the_page_needs_the_token_and_paths_lead_nowhere(server):
    for path in ("/", "/index.html", "/?token=", f"/?token={server.token}x"):
        status, content = send(server, "GET", path)
        assert status == 403 and b"The address is not whole" in content
    assert send(server, "GET", f"/?token={server.token}")[0] == 200
    assert send(server, "GET", f"/?token={server.token}", Host=f"evil.example:{server.server_port}")[0] == 403
    for path in ("/../server.py", "/%2e%2e/server.py", "/page/index.html", "//etc/passwd", "/server.py"):
        assert send(server, "GET", path)[0] == 404
    assert send(server, "POST", "/api/../save", "{}")[0] == send(server, "POST", "/api/compile", "{}")[0] == 404


def test_masks_are_checked(server):
    good = np.zeros((SIDE, SIDE), np.uint8)
    for mask, said in (
        (as_text(good[1:]), "64 x 64"),
        (as_text(good + 6), "class code 6"),
        ("?", "base64"),
    ):
        for name in ("ct", "save", "png"):
            status, answer = ask(server, name, mask=mask, seed=0, index=0)
            assert status == 400 and said in answer["error"]
    painted = {"mask": as_text(good), "seed": 0, "index": 0}
    for wrong, said in (
        ({"seed": -1}, "seed"),
        ({"index": 2**32}, "index"),
        ({"out": "/tmp/elsewhere"}, "out"),
        ({"origin": {"slice": 0}}, "without prepared slices"),
    ):
        status, answer = ask(server, "ct", **(painted | wrong))
        assert status == 400 and said in answer["error"]
    assert send(server, "POST", "/api/ct", "[")[0] == 400
    assert not server.out.exists()


def test_a_set_of_another_origin_is_not_touched(networks, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    studio = Studio(networks, NETWORK, packed.shipped(NETWORK), tmp_path)
    with Server(studio) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        painted = {"mask": as_text(np.zeros((SIDE, SIDE), np.uint8)), "seed": 0, "index": 0}
        status, answer = ask(server, "save", **painted)
        server.shutdown()
    assert status == 400 and "thesis.txt" in answer["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# ------------------------------------------------------------------ the page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if FOUND is None:
        pytest.skip("there is no Chromium on PATH")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    page = browser.open(server.url)
    page.wait("typeof state !== 'undefined' && state.mask && state.hu")
    return page


SETTLED = "/^CT in/.test($('status').textContent)"


def place_in_lung(page):
    """A place in the middle rows of the right lung."""
    lung = f"Array.from(state.mask.keys()).filter(a => state.mask[a] === {RIGHT_LUNG})"
    at = page.value(f"{lung}.sort((a, b) => Math.abs(a - n * n / 2) - Math.abs(b - n * n / 2))[0]")
    return at % SIDE, at // SIDE


def code_at(page, x, y):
    return page.value(f"state.mask[{y} * n + {x}]")


def nodules(page):
    return page.value("nodulesOf(state.mask, n).map(one => [one.x, one.y, one.places.length])")


def test_paint_fill_erase_undo(page):
    drawn = page.value("textOf(state.mask)")
    page.press("1")
    page.press("]")
    page.drag("mask", (2, 2), (9, 2))
    assert [code_at(page, x, 2) for x in (2, 5, 9)] == [1, 1, 1] and code_at(page, 20, 2) == 0
    page.press("f")
    page.press("4")
    page.drag("ct", (5, 2))  # tools work on the CT as on the mask
    assert code_at(page, 9, 2) == 4
    page.press("e")
    page.drag("mask", (2, 2), (9, 2))
    assert code_at(page, 5, 2) == 0
    assert page.value("textOf(state.mask)") == drawn
    for _ in range(3):
        page.press("z", "Control")
    assert page.value("textOf(state.mask)") == drawn and page.value("$('undo').disabled")
    page.press("z", "Control", "Shift")
    assert code_at(page, 5, 2) == 1
    page.press("y", "Control")
    assert code_at(page, 5, 2) == 4
    page.wait("$('gate').className === 'bad'")
    assert "outside the body" in page.value("$('gate').textContent")


def test_a_nodule_is_added_dragged_resized_saved_and_there_after_a_reload(page, server):
    x, y = place_in_lung(page)
    before = len(nodules(page))
    page.press("n")
    page.value("$('mm').value = 20")
    page.drag("mask", (x, y))
    assert code_at(page, x, y) == NODULE and len(nodules(page)) == before + 1
    page.drag("mask", (x, y), (x, y + 3), (x + 1, y + 6))
    assert page.value("[chosen.x, chosen.y]") == [x + 1, y + 6]
    page.value("$('mm').value = 26; $('mm').dispatchEvent(new Event('input'))")
    pixels = page.value("chosen.steps.length")
    assert abs(2 * (pixels / np.pi) ** 0.5 * server.studio.facts(None)["pixel_mm"] - 26) < 1
    page.wait(SETTLED)
    page.press("s", "Control")
    page.wait("/^Saved/.test($('status').textContent)")
    mask, hu = as_mask(page.value("textOf(state.mask)")), page.value("Array.from(state.hu)")

    made = open_set(server.out)
    last = made.pictures[-1]
    np.testing.assert_array_equal(read_mask(last.file("masks")), mask)
    np.testing.assert_array_equal(read_hu(last.file("hu")).ravel(), hu)
    assert last.record["edited"] and last.record["origin"]["index"] == 0
    assert f"Saved {last.path.name}: {len(made)} pair" in page.value("$('status').textContent")

    page.reload()
    page.wait("typeof state !== 'undefined' && state.mask && state.hu")
    np.testing.assert_array_equal(as_mask(page.value("textOf(state.mask)")), mask)


def test_two_windows_do_not_disturb_each_other(page, browser, server):
    other = browser.open(server.url)
    other.wait("typeof state !== 'undefined' && state.mask && state.hu")
    first = page.value("textOf(state.mask)")
    other.press("d")
    other.wait("state.origin.index === 1")
    other.reload()
    other.wait("typeof state !== 'undefined' && state.mask && state.hu")
    assert other.value("state.origin.index") == 1
    page.reload()
    page.wait("typeof state !== 'undefined' && state.mask && state.hu")
    assert page.value("textOf(state.mask)") == first != other.value("textOf(state.mask)")


def test_files_right_and_wrong(page, tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 1
    Image.fromarray(mask).save(tmp_path / "mine.png")
    Image.fromarray(mask + 6).save(tmp_path / "codes.png")
    Image.fromarray(mask).convert("RGB").save(tmp_path / "colours.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "huge.png").write_bytes(bytes(MOST_BYTES + 1))
    drawn = page.value("textOf(state.mask)")
    for name, said in (
        ("codes.png", "class code 6"),
        ("colours.png", "mode RGB"),
        ("text.png", "cannot be read as PNG"),
        ("huge.png", "larger than 1 MB"),
    ):
        page.choose_file("file", tmp_path / name)
        page.wait(f"!$('error').hidden && $('error').textContent.includes({json.dumps(said)})")
        assert name in page.value("$('error').textContent")
        assert page.value("textOf(state.mask)") == drawn
    page.choose_file("file", tmp_path / "mine.png")
    page.wait("state.origin === null && $('error').hidden")
    np.testing.assert_array_equal(as_mask(page.value("textOf(state.mask)")), mask.repeat(2, 0).repeat(2, 1))


def test_the_keyboard_alone_paints_and_moves(page):
    order = page.value(
        "[...document.querySelectorAll('button, input:not([hidden]), canvas')].every(one => one.tabIndex === 0)"
        " && [...document.querySelectorAll('input:not([hidden])')].every(one => one.labels.length)"
    )
    assert order
    x, y = place_in_lung(page)
    page.value(f"$('mask').focus(); cursor = {{ x: {x}, y: {y} }}")
    page.press("4")
    page.press(" ")
    assert code_at(page, x, y) == 4
    page.press("z", "Control")
    page.press("n")
    page.press(" ")
    page.press("ArrowDown")
    page.press("ArrowDown", "Shift")
    assert page.value("[chosen.x, chosen.y]") == [x, y + 9] and code_at(page, x, y + 9) == NODULE
    page.press("Delete")
    assert code_at(page, x, y + 9) != NODULE
    page.press("m")
    assert page.value("[$('level').value, $('width').value]") == ["40", "400"]
    assert "HU" in page.value("$('pointer').textContent")


def test_without_the_token_the_page_says_what_to_do(browser, server):
    page = browser.open(server.url.partition("?")[0])
    page.wait("document.body && document.body.textContent.includes('Open the address that bin/studio printed')")
    stale = browser.open(server.url)
    stale.wait("typeof state !== 'undefined' && state.hu")
    before, server.token = server.token, "another"
    try:
        stale.press("d")
        stale.wait("$('error').textContent.includes('started anew')")
    finally:
        server.token = before
