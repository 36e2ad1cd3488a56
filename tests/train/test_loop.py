"""The loop, the guard around its step, and recovery."""

import json
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from tsgan_jax.errors import UserError
from tsgan_jax.train.checkpoint import Checkpoints, abstract_like
from tsgan_jax.train.devices import data_mesh, place, replicated
from tsgan_jax.train.hooks import Save
from tsgan_jax.train.learner import new_player, update_player
from tsgan_jax.train.loop import RECENT, SKIPPED, CompiledStep, Hook, Interrupted, NonFinite, prefetch, run
from tsgan_jax.train.recovery import DIAGNOSIS, run_recovering


class Recorder(Hook):
    """Keeps what a hook is shown; `act` runs at a step."""

    def __init__(self, at=None, act=None):
        self.moments, self.at, self.act, self.rewound = [], at, act, []

    def __call__(self, info):
        self.moments.append((info.step, info.images, info.metrics, info.last, info.healthy))
        if info.step == self.at:
            self.act()

    def rewind(self, step, images):
        self.rewound.append((step, images))


LEARNER, MESH = toy.toy(), data_mesh(toy.BATCH)
STEP = CompiledStep(LEARNER, MESH)


def trained(until, stream=None, hooks=(), state=None, **options):
    state = state or toy.initial(LEARNER)
    stream = stream or toy.batches(int(state.images_seen))
    return run(STEP, state, prefetch(stream, MESH), hooks, until_images=until, **options)


def test_a_step_compiled_ahead_for_shapes_is_the_same_and_not_compiled_again(monkeypatch):
    ahead, batch = CompiledStep(LEARNER, MESH), next(toy.batches(0))
    state = jax.eval_shape(LEARNER.init, jax.random.key(0))
    ahead.compile(abstract_like(state, replicated(MESH)), jax.eval_shape(lambda: batch))
    monkeypatch.setattr(ahead, "_jitted", None)  # what compiles
    one, other = (
        run(step, toy.initial(LEARNER), prefetch(toy.batches(0), MESH), (), until_images=20) for step in (STEP, ahead)
    )
    assert toy.weights(one) == toy.weights(other)


def test_loop_is_the_plain_loop_over_steps():
    state, source = toy.initial(LEARNER), toy.batches(0)
    step = jax.jit(LEARNER.step)
    losses = []
    for _ in range(10):
        state, metrics = step(state, next(source))
        losses.append(float(metrics["loss"]))
    recorder = Recorder()
    looped = trained(40, hooks=[recorder], log_steps=5)
    assert toy.weights(looped) == toy.weights(state)
    logged = [(step, metrics["loss"]) for step, _, metrics, _, _ in recorder.moments if metrics]
    assert [step for step, _ in logged] == [5, 10]
    assert logged[0][1] == pytest.approx(np.mean(losses[:5]))
    assert logged[1][1] == pytest.approx(np.mean(losses[5:]))
    assert [last for *_, last, _ in recorder.moments] == [False] * 9 + [True]


@pytest.mark.parametrize(("seen", "log_steps"), [(7, 8), (3, 4), (0, 1)])
def test_a_row_right_after_a_resume_has_the_metrics(seen, log_steps):
    """The first step after a resume may be a log point."""
    recorder = Recorder()
    state = trained(seen * toy.BATCH) if seen else None
    trained((seen + 3) * toy.BATCH, hooks=[recorder], state=state, log_steps=log_steps)
    rows = [(step, metrics) for step, _, metrics, _, _ in recorder.moments if metrics is not None]
    assert rows[0][0] == seen + 1
    assert all({"loss", SKIPPED} <= metrics.keys() for _, metrics in rows)
    assert len(rows) == (3 if log_steps == 1 else 2)


def test_a_row_of_skipped_steps_alone_still_names_the_metrics():
    recorder = Recorder()
    bad = frozenset(range(8, 16))
    trained(24, toy.batches(0, bad=bad), [recorder], log_steps=1)
    rows = {step: metrics for step, _, metrics, _, _ in recorder.moments}
    assert rows[3][SKIPPED] == 1 and np.isnan(rows[3]["loss"])
    assert all(metrics.keys() == rows[1].keys() for metrics in rows.values())


def test_nothing_to_do_calls_no_hook():
    recorder = Recorder()
    state = toy.initial(LEARNER)
    assert toy.weights(trained(0, hooks=[recorder], state=state)) == toy.weights(state)
    assert not recorder.moments


def test_nonfinite_update_is_left_out_and_time_goes_on():
    before = toy.initial(LEARNER)
    after = trained(toy.BATCH, toy.batches(0, bad=frozenset([0])), state=place(before, data_mesh(1)))
    assert (after.step, after.images_seen) == (1, toy.BATCH)
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), after.player, before.player)
    assert all(jax.tree.leaves(same))


def test_the_loop_reads_nothing_from_the_device_between_log_points(monkeypatch):
    """Transfers that JAX makes of its own accord are forbidden, and those asked for are counted."""
    fetched = []
    monkeypatch.setattr(jax, "device_get", lambda tree, get=jax.device_get: (fetched.append(1), get(tree))[1])
    state = place(toy.initial(LEARNER), MESH)
    with jax.transfer_guard("disallow"):
        trained(32 * toy.BATCH, state=state, stream=toy.batches(0), log_steps=8)
    assert len(fetched) == 2 + 4  # two counters at the start, then one tally a log point


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30], ids=str)
def test_one_bad_gradient_leaves_the_whole_player_as_it_is(bad):
    player = new_player(toy.TX, {"a": jnp.ones(2), "b": jnp.ones(3)})
    same, norm = update_player(toy.TX, player, {"a": jnp.ones(2), "b": jnp.full(3, bad)})
    assert not np.isfinite(norm)  # 1e30 is finite, its square, which Adam keeps, is not
    jax.tree.map(np.testing.assert_array_equal, same, player)


def test_a_good_gradient_takes_the_optimiser_s_step():
    player, grads = new_player(toy.TX, {"a": jnp.ones(2)}), {"a": jnp.array([3.0, 4.0])}
    new, norm = update_player(toy.TX, player, grads)
    updates, _ = toy.TX.update(grads, player.opt_state, player.params)
    np.testing.assert_array_equal(new.params["a"], player.params["a"] + updates["a"])
    assert norm == 5.0


def test_single_bad_batches_are_counted_and_skipped():
    recorder = Recorder()
    state = trained(40, toy.batches(0, bad=frozenset([8, 24])), [recorder], log_steps=10, bad_limit=2)
    assert int(state.step) == 10
    (means,) = [metrics for _, _, metrics, _, _ in recorder.moments if metrics]
    assert means[SKIPPED] == 2
    assert np.isfinite(means["loss"])
    assert [step for step, *_, healthy in recorder.moments if not healthy] == [3, 7]


def test_many_bad_batches_stop_the_loop():
    with pytest.raises(NonFinite) as fault:
        trained(160, toy.batches(0, bad=frozenset(range(20, 160))), bad_limit=3, log_steps=4)
    assert fault.value.step == 8  # the first log point at which three or more are known
    assert [np.isnan(row["loss"]) for row in fault.value.recent] == [False] * 5 + [True] * 3


def test_a_diagnosis_has_the_latest_steps_alone():
    with pytest.raises(NonFinite) as fault:
        trained(400, toy.batches(0, bad=frozenset(range(160, 400))), bad_limit=3, log_steps=60)
    assert len(fault.value.recent) == RECENT


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_loop_at_a_step_with_a_last_moment(signum):
    before = signal.getsignal(signum)
    recorder = Recorder(at=3, act=lambda: signal.raise_signal(signum))
    with pytest.raises(Interrupted) as stop:
        trained(400, hooks=[recorder])
    assert stop.value.signum == signum
    assert [(step, last) for step, _, _, last, _ in recorder.moments][2:] == [(3, False), (4, True)]
    assert signal.getsignal(signum) is before


def test_signal_in_the_last_step_still_interrupts():
    recorder = Recorder(at=10, act=lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted):
        trained(40, hooks=[recorder])
    assert recorder.moments[-1][3]


def test_a_signal_does_not_wait_for_the_compiler():
    def slow(state, batch):
        time.sleep(5)  # while it is traced
        return LEARNER.step(state, batch)

    step, recorder = CompiledStep(LEARNER._replace(step=slow), MESH), Recorder()
    threading.Timer(0.5, signal.raise_signal, [signal.SIGTERM]).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run(step, toy.initial(LEARNER), prefetch(toy.batches(0), MESH), [recorder], until_images=40)
    assert time.monotonic() - began < 4 and not recorder.moments


def test_second_interrupt_does_not_wait():
    class Impatient(Hook):
        """Interrupts, and again during what the last step sets off, such as a long save."""

        def __call__(self, info):
            if info.step >= 3:
                signal.raise_signal(signal.SIGINT)
                for _ in range(20 * info.last):
                    time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        trained(400, hooks=[Impatient()])


def test_place_gives_every_leaf_its_own_buffer():
    shared = jnp.ones(3)
    placed = place({"a": shared, "b": shared}, data_mesh(1))
    assert len({leaf.unsafe_buffer_pointer() for leaf in placed.values()} | {shared.unsafe_buffer_pointer()}) == 3


def recovering(tmp_path, bad_at, saves, until=200, rollbacks=3):
    """A run whose `bad_at(images, attempt)` batches are NaN, with a checkpoint at each step of `saves`."""
    lines, attempts = [], []
    checkpoints = Checkpoints(tmp_path / "checkpoints", 2, lines.append)

    class SaveAt(Save):
        def __call__(self, info):
            if info.step in saves and info.healthy or info.last:
                self._checkpoints.save(info.state, {"images_seen": info.images}, info.step)
                self._checkpoints.wait()

    def stream(images):
        attempts.append(images)
        bad = frozenset(i for i in range(0, until, toy.BATCH) if bad_at(i, len(attempts) - 1))
        return prefetch(toy.batches(images, bad), MESH)

    def load(older):
        if older and len(checkpoints.steps()) > 1:
            checkpoints.drop_after(checkpoints.steps()[-2])
        return toy.load(checkpoints, LEARNER)

    recorder = Recorder()
    hooks = [SaveAt(checkpoints, 1e9, {}), recorder]
    try:
        state = run_recovering(
            STEP, toy.initial(LEARNER), stream, hooks, checkpoints, load,
            until_images=until, log_steps=1, bad_limit=3, rollbacks=rollbacks, say=lines.append,
        )  # fmt: skip
    finally:
        checkpoints.wait()
    return state, attempts, recorder, lines, checkpoints


def test_rolls_back_to_the_last_checkpoint_with_other_noise(tmp_path):
    state, attempts, recorder, lines, checkpoints = recovering(
        tmp_path, lambda images, attempt: attempt == 0 and images >= 100, saves={10, 20}
    )
    assert int(state.images_seen) == 200
    assert attempts == [0, 80]
    assert recorder.rewound == [(20, 80)]
    assert any("step 20 again" in line for line in lines)
    assert np.isfinite(np.asarray(state.player.params["w"])).all()
    assert not jnp.array_equal(jax.random.key_data(state.key), jax.random.key_data(jax.random.key(0)))
    assert checkpoints.steps()[-1] == 50


def test_second_rollback_goes_to_an_earlier_checkpoint(tmp_path):
    _, attempts, *_ = recovering(tmp_path, lambda images, attempt: attempt < 2 and images >= 100, saves={10, 20})
    assert attempts == [0, 80, 40]


def test_stops_with_a_diagnosis_when_nothing_helps(tmp_path):
    with pytest.raises(UserError, match="does not recover: gradient, loss became NaN"):
        recovering(tmp_path, lambda images, attempt: images >= 100, saves={10, 20}, rollbacks=2)
    diagnosis = json.loads((tmp_path / DIAGNOSIS).read_text())
    assert diagnosis["not_finite"] == ["gradient", "loss"]
    assert diagnosis["rollbacks"] == 2
    assert diagnosis["latest_steps"][-1]["loss"] == "nan"


def test_saves_in_between_reset_the_count_of_rollbacks(tmp_path):
    """Rare faults in a long run must not add up to a stop."""
    state, attempts, *_ = recovering(
        tmp_path, lambda images, attempt: images >= 60 + 40 * attempt and attempt < 3, saves=set(range(5, 50, 5)),
        rollbacks=1,
    )  # fmt: skip
    assert int(state.images_seen) == 200
    assert attempts == [0, 60, 100, 140]
