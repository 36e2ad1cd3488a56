"""The roofline's counts are XLA's, and its times the quotients it says."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.roofline import CARDS, measured, table


def test_a_matrix_product_has_its_flops_and_its_arrays_bytes():
    a, b = jax.ShapeDtypeStruct((64, 128), jnp.float32), jax.ShapeDtypeStruct((128, 32), jnp.float32)
    work = measured("product", "float32", 1, 10, jnp.dot, a, b)
    assert work.flops == pytest.approx(2 * 64 * 128 * 32, rel=0.01)
    assert work.bytes == 4 * (64 * 128 + 128 * 32 + 64 * 32)
    card = CARDS[0]
    assert work.seconds(card) == (work.flops / card.float32, work.bytes / card.memory)
    lines = list(table([work]))
    assert len(lines) == 2 + 1 + 1 + 2 * len(CARDS) and lines[2].startswith("| product | float32 | 1 |")
