"""Appearance: its numbers against plain NumPy, what is kept of the training slices, and what is drawn from it."""

import jax
import jax.numpy as jnp
import numpy as np
from phantom_pairs import phantom_batch
from scipy.ndimage import convolve

from tsgan_jax.translation.appearance import KEPT, NUMBERS, REGIONS, drawn, kept, measured, none_yet, standardised
from tsgan_jax.translation.dl_pix2pix import Generator


def test_numbers_are_those_of_plain_loops() -> None:
    batch = phantom_batch(3, 32)
    mask = np.array(batch.mask)
    mask[1][np.isin(mask[1], REGIONS[2])] = 1  # a slice without lungs
    found = np.asarray(measured(batch.ct, jnp.asarray(mask)))
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    for image, codes, row in zip(np.asarray(batch.ct, np.float64)[..., 0], mask, found, strict=True):
        grain = np.abs(image - convolve(image, kernel, mode="constant"))
        wanted = []
        for classes in REGIONS:
            inside = np.isin(codes, classes)
            of = image[inside]
            wanted += [of.mean(), np.log(of.std() + 0.01), np.log(grain[inside].mean() + 0.01)] if len(of) else [0] * 3
        np.testing.assert_allclose(row, wanted, rtol=2e-4, atol=2e-5)
    assert (found[1, 6:] == 0).all() and (found[0, 6:] != 0).all()


def test_the_latest_slices_are_kept() -> None:
    rows = np.random.default_rng(0).normal(size=(KEPT + 6, NUMBERS)).astype(np.float32)
    seen = none_yet()
    for batch in rows.reshape(-1, 2, NUMBERS):
        seen = jax.jit(kept)(seen, batch)
    assert int(seen.count) == KEPT + 6
    np.testing.assert_array_equal(np.roll(np.asarray(seen.rows), -6, axis=0), rows[6:])


def test_standardised_by_the_slices_seen_so_far() -> None:
    rows = np.random.default_rng(1).normal(3, 2, size=(40, NUMBERS)).astype(np.float32)
    seen = kept(none_yet(), rows)
    found = np.asarray(standardised(seen, rows))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(0), 1, atol=1e-3)
    assert (np.asarray(standardised(none_yet(), jnp.zeros((1, NUMBERS)))) == 0).all()


def test_what_is_drawn_was_seen_and_every_slice_can_be() -> None:
    rows = np.arange(5 * NUMBERS, dtype=np.float32).reshape(5, NUMBERS)
    seen = kept(none_yet(), rows)
    found = np.asarray(drawn(seen, jax.random.split(jax.random.key(0), 200)))
    places = np.abs(found[:, None] - np.asarray(standardised(seen, rows))[None]).max(-1)
    assert (places.min(1) < 1e-5).all() and set(places.argmin(1)) == set(range(5))


def test_the_generator_follows_it() -> None:
    generator = Generator(depth=2, width=4, lia=False, dwmh=False, dropout=0.0, appearance=True)
    mask, keys = jax.nn.one_hot(phantom_batch(1, 32).mask, 6), jax.random.split(jax.random.key(0), 1)
    rows = [jnp.full((1, NUMBERS), level) for level in (0.0, 1.0)]
    params = generator.init(jax.random.key(1), mask, keys, rows[0])
    plain, other = (generator.apply(params, mask, keys, row) for row in rows)
    assert float(jnp.abs(plain - other).max()) > 1e-3
