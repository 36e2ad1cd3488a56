"""The growth plan and what is carried from one phase to the next (T8, A20, A21)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import Phase, fade_alpha, grow, overlay, phase_at, plan
from tsgan_jax.masks.learner import stylegan

from .tiny import tiny


def test_plan_of_the_paper():
    phases = plan(MasksConfig())
    assert [(p.resolution, p.fade) for p in phases[:4]] == [(4, False), (8, True), (8, False), (16, True)]
    assert len(phases) == 15 and phases[-1].resolution == 512
    assert phases[0].images == 160_000  # 10,000 steps of 16
    assert phases[1].images == phases[2].images == 80_000
    assert (phases[-2].images, phases[-1].batch_size) == (10_000, 2)


@given(
    resolution=st.sampled_from([4, 8, 32]),
    steps=st.integers(1, 50),
    fraction=st.floats(0, 0.99),
    batch=st.integers(1, 5),
)
def test_phases_follow_each_other_and_add_up(resolution, steps, fraction, batch):
    table = dict.fromkeys((4, 8, 16, 32), batch)
    config = tiny(resolution=resolution, steps_per_resolution=steps, fade_fraction=fraction, batch_size=table)
    phases = plan(config)
    assert phases[0].start == 0
    assert all(a.end == b.start for a, b in zip(phases, phases[1:], strict=False))
    assert all(p.images > 0 and p.images % batch == 0 for p in phases)
    assert phases[-1].end == steps * batch * len(config.resolutions)
    assert [p.resolution for p in phases if not p.fade] == list(config.resolutions)


def test_phase_at_changes_exactly_at_the_end_of_a_phase():
    phases = plan(tiny())
    for index, phase in enumerate(phases):
        assert phase_at(phases, phase.start) == (index, phase)
        assert phase_at(phases, phase.end - 1) == (index, phase)
    assert phase_at(phases, phases[-1].end) == (2, phases[-1])


def test_alpha_rises_from_zero_to_one_within_a_fade():
    phase = Phase(8, True, 4, images=100, start=50)
    alphas = [float(fade_alpha(phase, jnp.int32(seen))) for seen in (50, 75, 150, 151)]
    np.testing.assert_allclose(alphas, [0.0, 0.25, 1.0, 1.0])
    assert float(fade_alpha(Phase(8, False, 4, 100, 50), jnp.int32(50))) == 1.0


def test_overlay_takes_what_both_have_and_leaves_the_rest():
    fresh = {"a": {"kernel": jnp.zeros(2)}, "new": jnp.zeros(1)}
    trained = {"a": {"kernel": jnp.ones(2)}, "old": jnp.ones(3)}
    result = overlay(fresh, trained)
    assert jax.tree.map(lambda x: x.tolist(), result) == {"a": {"kernel": [1.0, 1.0]}, "new": [0.0]}


def test_overlay_refuses_another_width():
    with pytest.raises(ValueError, match=r"a/kernel: shape \(3,\) cannot grow into \(2,\)"):
        overlay({"a": {"kernel": jnp.zeros(2)}}, {"a": {"kernel": jnp.zeros(3)}})


def test_grow_carries_the_trained_and_resets_the_optimisers(config):
    small, large = (stylegan(config, phase) for phase in plan(config)[:2])
    start = jax.jit(small.init)(jax.random.key(0))
    state = jax.tree.map(lambda x: x + 1 if jnp.issubdtype(x.dtype, jnp.number) else x, start)
    fresh = jax.jit(large.init)(jax.random.key(2))
    grown = grow(state, fresh)
    assert jax.tree.structure(grown) == jax.tree.structure(fresh)
    assert (int(grown.step), int(grown.images_seen)) == (1, 1)
    assert jax.random.key_data(grown.key).tolist() == jax.random.key_data(state.key).tolist()
    np.testing.assert_array_equal(grown.w_avg, state.w_avg)
    for new, old, begun in (
        (grown.gen.params["synthesis"], state.gen.params["synthesis"], fresh.gen.params["synthesis"]),
        (grown.ema["synthesis"], state.ema["synthesis"], fresh.ema["synthesis"]),
        (grown.critic.params, state.critic.params, fresh.critic.params),
    ):
        for name, block in new.items():
            jax.tree.map(np.testing.assert_array_equal, block, old.get(name, begun[name]))
    assert all(leaf.any() for leaf in jax.tree.leaves(state.gen.opt_state))
    for player in (grown.gen, grown.critic):
        assert not any(leaf.any() for leaf in jax.tree.leaves(player.opt_state))
