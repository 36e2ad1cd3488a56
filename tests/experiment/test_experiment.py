"""A whole experiment, small: unbroken, interrupted and resumed, rerun."""

import json
import signal
import threading

import jax
import pytest

from tsgan_jax.config import Config
from tsgan_jax.experiment.stage import masks_work, translation_work
from tsgan_jax.experiment.train import train
from tsgan_jax.generation import runs
from tsgan_jax.generation.runs import fingerprint
from tsgan_jax.train.hooks import Console
from tsgan_jax.train.loop import Interrupted


class Screen(Console):
    """Keeps what is said, and sends SIGTERM when the progress of `stop` is first shown."""

    def __init__(self, stop=None):
        self.lines, self.stop = [], stop

    def say(self, line):
        self.lines.append(line)

    def update(self, label, done, line):
        if self.stop and label.startswith(self.stop) and line.startswith("step"):
            self.stop = None
            assert threading.current_thread() is threading.main_thread()
            signal.raise_signal(signal.SIGTERM)


def small(prepared):
    return Config.model_validate(
        {
            "data": {
                "phantom": {"patients": 5, "slices": 1, "size": 64}, "resolution": 16, "prepared": str(prepared)
            },
            "masks": {
                "z_dim": 8, "w_dim": 8, "mapping_layers": 1, "fmap_base": 32, "fmap_max": 8,
                "steps_per_resolution": 6, "fade_fraction": 0.0, "grow_to": 8, "batch_size": {4: 4, 8: 2},
            },
            "translation": {
                "method": "dl_pix2pix", "epochs": 2, "decay_start": 1, "num_downs": 2, "generator_width": 4,
                "critic_width": 4, "critic_layers": 1, "lia": False, "dwmh": False, "perceptual": False,
            },
            "generation": {"count": 2, "attempts": 1, "batch_size": 2},
            "run": {"log_steps": 1, "samples": 2},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    root = tmp_path_factory.mktemp("experiment")
    cache = jax.config.jax_compilation_cache_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        screen = Screen()
        train(small(root / "prepared"), root / "run", screen)
        yield root, screen
    jax.config.update("jax_compilation_cache_dir", cache)


def networks(run):
    trained = runs.restore(run)
    assert not trained.unfinished
    return fingerprint((trained.generator.params, trained.generator.w_avg, trained.translator_state))


@pytest.mark.slow
def test_leaves_a_complete_run_directory(unbroken):
    root, screen = unbroken
    run = root / "run"
    assert {path.name for path in run.iterdir()} >= {"config.yaml", "masks", "translation", "sets"}
    log = [json.loads(line) for line in (run / "masks" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 13))
    assert [line["phase"] for line in log] == [0] * 6 + [1] * 6
    assert [line["images"] for line in log][5::6] == [24, 36]
    for stage in ("masks", "translation"):
        assert list((run / stage / "samples").glob("*.png"))
        manifest = json.loads((run / stage / "manifest.json").read_text())
        assert manifest["finished"] and manifest["images_seen"] == manifest["images_total"]
        assert manifest["versions"]["jax"] == jax.__version__
    assert (run / "sets" / "synthetic" / "annotations.json").is_file()
    assert any(line.startswith("set: ") for line in screen.lines)


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["masks 8 px", "translation"])
def test_interrupted_run_ends_as_the_unbroken_one(unbroken, stop):
    root, _ = unbroken
    run = root / f"stopped at {stop}"
    with pytest.raises(Interrupted):
        train(small(root / "prepared"), run, Screen(stop))
    screen = Screen()
    train(small(root / "prepared"), run, screen)
    assert any("resumed at step" in line for line in screen.lines)
    assert networks(run) == networks(root / "run")


@pytest.mark.slow
def test_rerun_of_a_finished_run_trains_nothing(unbroken):
    root, _ = unbroken
    before = networks(root / "run")
    screen = Screen()
    train(small(root / "prepared"), root / "run", screen)
    assert [line.split(" earlier")[0] for line in screen.lines if "finished" in line] == [
        "stage masks: finished", "stage translation: finished"
    ]  # fmt: skip
    assert not any("from the start" in line or "resumed" in line for line in screen.lines)
    assert networks(root / "run") == before


@pytest.mark.slow
def test_damaged_last_checkpoint_costs_one_interval_not_the_run(unbroken):
    root, _ = unbroken
    before = networks(root / "run")
    folder = root / "run" / "masks" / "checkpoints"
    last = max((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    victim = max((path for path in (last / "state").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    screen = Screen()
    train(small(root / "prepared"), root / "run", screen)
    assert any("is not usable" in line for line in screen.lines)
    assert any(line.startswith("stage masks: resumed at step 6") for line in screen.lines)
    assert networks(root / "run") == before


def test_work_is_within_a_third_of_measured_steps():
    """GFLOP of one image, measured on the paper's networks at 32, 128 and 256 px, and DL-Pix2Pix at 256 and 512 px."""
    masks, translation = Config().masks, Config().translation
    for resolution, measured in ((32, 230), (128, 657), (256, 1000)):
        assert masks_work(masks, resolution) == pytest.approx(measured, rel=0.34)
    for resolution, measured in ((256, 225), (512, 920)):
        config = translation.model_copy(update={"resolution": resolution})
        assert translation_work(config) == pytest.approx(measured, rel=0.34)
