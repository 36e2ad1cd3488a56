"""The head start: new layers learn what the old ones do, and nothing else moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tsgan_jax.masks.discriminator import discriminator_of
from tsgan_jax.masks.growth import grow, plan
from tsgan_jax.masks.head_start import head_start, joined, lessons, split_new
from tsgan_jax.masks.learner import imagine, shown, stylegan
from tsgan_jax.masks.synthesis import class_shares

from .tiny import tiny

CONFIG = tiny(resolution=16, head_start=60, steps_per_resolution=120, fmap_base=256, fmap_max=16)
BEFORE, FADE = plan(CONFIG)[2:4]  # 8 px stable, 16 px fade


@pytest.fixture(scope="module")
def taught():
    """A state grown to 16 px, the same after its head start, and the first and last lags."""
    trained = stylegan(CONFIG, BEFORE).init(jax.random.key(0))
    grown = grow(trained, stylegan(CONFIG, FADE).init(jax.random.key(1)))
    return grown, *head_start(grown, CONFIG, FADE)


def test_the_phases_are_those_meant():
    assert (BEFORE.resolution, BEFORE.fade, FADE.resolution, FADE.fade) == (8, False, 16, True)


def test_as_many_lessons_as_asked_for_but_no_more_than_steps_of_the_fade():
    assert [lessons(CONFIG, phase) for phase in plan(CONFIG)] == [0, 60, 0, 60, 0]
    short = tiny(head_start=60, steps_per_resolution=2)
    assert lessons(short, plan(short)[1]) == 1


def test_new_layers_catch_up(taught):
    _, _, first, last = taught
    assert last["head_lag"] < 0.3 * first["head_lag"]
    assert last["path_lag"] < 0.5 * first["path_lag"]


def test_pictures_and_scores_hardly_depend_on_the_fade_any_more(taught):
    """On latents and pictures that were not in the lessons."""
    grown, after, *_ = taught

    def jumps(state):
        heads, _ = imagine(CONFIG, FADE, state.gen.params, jax.random.key(9), 16)
        old, new = (class_shares(heads, jnp.float32(alpha)) for alpha in (0.0, 1.0))
        pictures = shown(CONFIG, FADE, jax.random.key(8), old, jnp.float32(0.2), jnp.float32(0.0))
        critic = discriminator_of(CONFIG, FADE)
        scores = [critic.apply({"params": state.critic.params}, pictures, jnp.float32(a)) for a in (0.0, 1.0)]
        return float(jnp.abs(new - old).mean()), float(jnp.abs(scores[1] - scores[0]).mean())

    (shares, scores), (shares_after, scores_after) = jumps(grown), jumps(after)
    assert shares_after < 0.5 * shares and scores_after < 0.5 * scores


def test_older_layers_optimisers_and_counters_stay_as_they_were(taught):
    grown, after, *_ = taught
    for before, now in ((grown.gen, after.gen), (grown.critic, after.critic)):
        old, kept = split_new(before.params, FADE)[1], split_new(now.params, FADE)[1]
        assert old.keys() == kept.keys() and old
        assert all((kept[path] == old[path]).all() for path in old)
        jax.tree.map(np.testing.assert_array_equal, now.opt_state, before.opt_state)
    for name in ("step", "images_seen", "w_avg"):
        np.testing.assert_array_equal(getattr(after, name), getattr(grown, name))
    assert jax.tree.structure(after) == jax.tree.structure(grown)


def test_the_running_mean_begins_with_the_taught_layers(taught):
    _, after, *_ = taught
    (averaged, _), (new, _) = split_new(after.ema, FADE), split_new(after.gen.params, FADE)
    assert averaged.keys() == new.keys() and all((averaged[path] == new[path]).all() for path in new)


def test_the_same_whenever_it_is_computed(taught):
    """What a resume at the first step of a fade rests on."""
    grown, after, *_ = taught
    again, *_ = head_start(grown, CONFIG, FADE)
    jax.tree.map(np.testing.assert_array_equal, again.gen.params, after.gen.params)
    jax.tree.map(np.testing.assert_array_equal, again.critic.params, after.critic.params)


def test_new_layers_are_those_that_growing_adds(taught):
    grown, *_ = taught
    trained = jax.eval_shape(stylegan(CONFIG, BEFORE).init, jax.random.key(0))
    for player, smaller in ((grown.gen, trained.gen), (grown.critic, trained.critic)):
        new, old = split_new(player.params, FADE)
        assert set(new) == flatten_dict(player.params).keys() - flatten_dict(smaller.params).keys()
        assert jax.tree.structure(joined(new, old)) == jax.tree.structure(player.params)
