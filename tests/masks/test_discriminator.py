"""The critic: shapes, fades (T3), populations kept apart (T4)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.masks.discriminator import discriminator_of
from tsgan_jax.masks.growth import overlay, plan
from tsgan_jax.nn.equalized import initialise
from tsgan_jax.nn.resample import downsample

from .tiny import tiny

STABLE4, FADE8, STABLE8 = plan(tiny())
X = jax.random.normal(jax.random.key(0), (4, 8, 8, 6))
ONE, ZERO = jnp.float32(1.0), jnp.float32(0.0)


def critic(phase, seed):
    module = discriminator_of(tiny(), phase)
    params = initialise(module, jax.random.key(seed), X[:1, : phase.resolution, : phase.resolution], ONE)
    return module, jax.tree.map(lambda x: x + 0.1, params)


def test_one_score_for_each_example():
    module, params = critic(STABLE8, 0)
    scores = module.apply({"params": params}, X, ONE)
    assert scores.shape == (4,) and scores.dtype == jnp.float32
    assert len(set(np.asarray(scores).tolist())) == 4


def test_fade_starts_at_the_halved_input_and_ends_at_the_new_block():
    old_module, old = critic(STABLE4, 0)
    module, fresh = critic(FADE8, 1)
    grown = overlay(fresh, old)
    start = module.apply({"params": grown}, X, ZERO)
    np.testing.assert_allclose(start, old_module.apply({"params": old}, downsample(X), ONE), rtol=1e-5)
    stable_module, stable = critic(STABLE8, 2)
    after = stable_module.apply({"params": overlay(stable, grown)}, X, ONE)
    np.testing.assert_allclose(module.apply({"params": grown}, X, ONE), after, rtol=1e-5)
    assert float(abs(after - start).max()) > 1e-3


def test_populations_in_one_batch_do_not_see_each_other():
    module, params = critic(STABLE8, 0)
    other = 5.0 * X[::-1]
    together = module.apply({"params": params}, jnp.concatenate([X, other]), ONE, 2)
    for part, alone in zip(jnp.split(together, 2), (X, other), strict=True):
        np.testing.assert_allclose(part, module.apply({"params": params}, alone, ONE), rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_batches_below_the_group_size_work(batch):
    module, params = critic(STABLE8, 0)
    assert np.isfinite(module.apply({"params": params}, X[:batch], ONE)).all()


def test_score_depends_on_the_variety_of_the_batch():
    module, params = critic(STABLE8, 0)
    alike = jnp.broadcast_to(X[:1], X.shape)
    assert (
        float(abs(module.apply({"params": params}, X, ONE)[0] - module.apply({"params": params}, alike, ONE)[0])) > 1e-4
    )
