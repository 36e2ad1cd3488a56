"""Log, sample grids, saving by the clock, progress."""

import json
import resource

import numpy as np
import pytest
import toy
from PIL import Image

from tsgan_jax.train.checkpoint import Checkpoints
from tsgan_jax.train.hooks import JsonlLog, ProgressHook, Samples, Save, Span, Tensorboard, spell, truncate_log
from tsgan_jax.train.loop import StepInfo


def info(step, metrics=None, last=False, healthy=True, state=None):
    return StepInfo(state, step, 4 * step, metrics, last, streak=0 if healthy else 2)


def test_log_line_is_json_even_of_nan(tmp_path):
    log = JsonlLog(tmp_path / "log.jsonl", {"phase": 3})
    log(info(1))
    log(info(2, {"loss": 0.5, "score": float("nan")}))
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    found = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found.pop("time") > 0
    assert found == {"step": 2, "images": 8, "phase": 3, "loss": 0.5, "score": None}


def test_resumed_log_has_no_step_twice_and_no_torn_line(tmp_path):
    path = tmp_path / "log.jsonl"
    log = JsonlLog(path, {})
    for step in range(1, 6):
        log(info(step, {"loss": 1.0}))
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    truncate_log(path, 3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
    log(info(4, {"loss": 2.0}))
    log.rewind(2, 8)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


def test_unwritable_log_does_not_stop_training(tmp_path):
    lines = []
    JsonlLog(tmp_path / "missing" / "log.jsonl", {}, lines.append)(info(1, {"loss": 1.0}))
    assert "a log line was lost" in lines[0]


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    board = Tensorboard(tmp_path, 0)
    board(info(1, {"loss": 1.0}, last=True))
    assert any(file.stat().st_size > 0 for file in tmp_path.iterdir())


def test_a_disk_that_refuses_tensorboards_points_does_not_stop_training(tmp_path):
    """tensorboardX's own thread would end at the first error, and its queue block training for ever."""
    pytest.importorskip("tensorboardX")
    lines = []
    board = Tensorboard(tmp_path, 0, lines.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for step in range(1, 300):
            board(info(step, {"loss": 1.0}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert lines and "lost or are late" in lines[0]
    written = sum(file.stat().st_size for file in tmp_path.iterdir())
    board(info(300, {"loss": 1.0}, last=True))  # the disk has room again
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > written


def picture(state):
    return np.full((6, 5, 3), state, np.uint8)


def test_samples_are_drawn_once_a_point(tmp_path):
    samples = Samples(tmp_path / "samples", picture, [8, 9, 40, 100], images=0)
    for step in range(1, 12):
        samples(info(step, state=step))
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        "000000008.png", "000000012.png", "000000040.png"
    ]  # fmt: skip
    assert (np.asarray(Image.open(tmp_path / "samples" / "000000012.png")) == 3).all()


def test_resumed_samples_skip_points_passed(tmp_path):
    samples = Samples(tmp_path / "samples", picture, [8, 40], images=20)
    for step in range(6, 11):
        samples(info(step, state=step))
    assert [p.name for p in (tmp_path / "samples").iterdir()] == ["000000040.png"]


def test_failing_picture_does_not_stop_training(tmp_path):
    def broken(state):
        raise RuntimeError("no picture today")

    lines = []
    Samples(tmp_path, broken, [4], 0, lines.append)(info(1))
    assert "no picture today" in lines[0]


def test_saves_by_the_clock_and_at_the_end_but_not_while_skipping(tmp_path):
    now = [0.0]
    checkpoints = Checkpoints(tmp_path, keep=9)
    save = Save(checkpoints, 1.0, {"phase": 2}, clock=lambda: now[0])
    state = toy.initial(toy.toy())
    for step, seconds, healthy, last in [
        (1, 59, True, False), (2, 61, False, False), (3, 62, True, False), (4, 100, True, False), (5, 101, True, True)
    ]:  # fmt: skip
        now[0] = seconds
        save(info(step, state=state, healthy=healthy, last=last))
    assert checkpoints.steps() == [3, 5]
    assert checkpoints.newest().meta == {"phase": 2, "images_seen": 20}
    checkpoints.wait()


class Heard:
    def __init__(self):
        self.updates = []

    def update(self, label, done, line):
        self.updates.append((label, done, line))


def test_progress_tells_rate_and_time_left():
    heard, now = Heard(), [0.0]
    span = Span("masks 8 px", start=0, end=400, per_image=2.0, before=200.0, stage=1000.0, overall=3000.0)
    progress = ProgressHook(heard, span, clock=lambda: now[0])
    progress(info(1))
    now[0] = 10.0
    progress(info(26, {"loss": 0.25, "skipped": 1.0}))
    ((label, done, line),) = heard.updates
    # 100 images in 10 s are 20 units of work a second; 408 of 1000 are done, so 29.6 s are left.
    assert label == "masks 8 px" and done == pytest.approx(0.408)
    assert "10 images/s" in line and "stage 30 s left" in line and "all 2 min left" in line
    assert "loss 0.25" in line and "1 updates skipped" in line


def test_progress_ends_at_all_though_the_last_batch_reaches_further():
    heard = Heard()
    progress = ProgressHook(heard, Span("masks", start=0, end=10, per_image=1.0, before=0.0, stage=10.0, overall=10.0))
    progress(info(1))
    progress(info(3, {"loss": 0.25}, last=True))
    ((_, done, line),) = heard.updates
    assert done == 1.0 and "10/10 images" in line and "stage 0 s left" in line


@pytest.mark.parametrize(
    "seconds, text", [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7380, "2 h 3 min"), (266400, "3 d 2 h")]
)
def test_durations_are_told_in_two_units(seconds, text):
    assert spell(seconds) == text
