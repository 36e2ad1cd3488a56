"""The image pool against the plain loop, its odds, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tsgan_jax.translation.cyclegan import Pool, new_pool, query

QUERY = jax.jit(query)


def numbered(first: int, count: int) -> jax.Array:
    """Images [count, 2, 2, 1], each filled with its own number."""
    return jnp.broadcast_to(first + jnp.arange(float(count))[:, None, None, None], (count, 2, 2, 1))


def numbers(images: jax.Array) -> list[float]:
    assert (images == images[:, :1, :1]).all()
    return [float(n) for n in images[:, 0, 0, 0]]


def test_it_fills_with_what_it_shows() -> None:
    shown, pool = QUERY(new_pool(5, 2, 2, 1), numbered(1, 3), jax.random.key(0))
    assert numbers(shown) == [1, 2, 3]
    assert numbers(pool.images) == [1, 2, 3, 0, 0] and int(pool.count) == 3


@pytest.mark.parametrize("size", [1, 3])
def test_image_by_image_it_keeps_or_swaps(size: int) -> None:
    """A batch passes as single images would: what is shown is the image, or one held until then, which it replaces."""
    pool, held, swaps, first = new_pool(size, 2, 2, 1), [], 0, 1
    for batch in range(12):
        images = numbered(first, 4)
        shown, pool = QUERY(pool, images, jax.random.key(batch))
        for image, seen in zip(numbers(images), numbers(shown), strict=True):
            if len(held) < size:
                assert seen == image
                held.append(image)
            elif seen != image:
                held[held.index(seen)] = image
                swaps += 1
        assert numbers(pool.images)[: len(held)] == held and int(pool.count) == len(held)
        first += 4
    assert 0 < swaps < 48 - size


def test_half_are_swapped_and_every_place_is_taken_alike() -> None:
    """2000 images to a full pool of 4: each figure within four standard deviations."""
    full = Pool(images=numbered(-4, 4), count=jnp.int32(4))
    shown, after = jax.jit(jax.vmap(query, (None, 0, 0)))(full, numbered(1, 2000)[:, None], _keys(2000))
    swapped = np.asarray(shown[:, 0, 0, 0, 0]) < 0
    assert abs(swapped.mean() - 0.5) < 4 * 0.5 / np.sqrt(2000)
    places = np.argmax(np.asarray(after.images[:, :, 0, 0, 0]) > 0, axis=1)[swapped]
    shares = np.bincount(places, minlength=4) / swapped.sum()
    np.testing.assert_allclose(shares, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / swapped.sum()))


def test_an_image_that_is_not_finite_is_shown_but_not_kept() -> None:
    broken = numbered(1, 6).at[2, 0, 0, 0].set(jnp.nan).at[5, 0, 0, 0].set(jnp.inf)
    shown, pool = QUERY(new_pool(4, 2, 2, 1), broken, jax.random.key(0))
    assert numbers(pool.images) == [1, 2, 4, 5] and int(pool.count) == 4
    np.testing.assert_array_equal(shown[jnp.array([2, 5])], broken[jnp.array([2, 5])])


def _keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(1), count)
