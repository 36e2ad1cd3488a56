"""Spectral normalisation against the singular value decomposition (T16)."""

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.nn import spectral_norm


def kernels() -> dict:
    """Two normalised kernels, one far from round, and one that is left alone."""
    rng = np.random.default_rng(0)
    stretched = rng.normal(size=(3, 3, 8, 16)) * np.linspace(0.1, 4.0, 16)
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float32),
        {
            "block": {
                "conv0": {"kernel": stretched, "bias": np.ones(16)},
                "other": {"kernel": rng.normal(size=(3, 4))},
            },
            "conv1": {"kernel": rng.normal(size=(5, 7)) * 1e-3},
        },
    )


def largest(kernel: jax.Array) -> float:
    return float(np.linalg.svd(np.asarray(kernel).reshape(-1, kernel.shape[-1]), compute_uv=False)[0])


def test_top_singular_value_is_1_and_the_rest_is_left_alone() -> None:
    params = kernels()
    vectors = spectral_norm.start(params, ("conv0", "conv1"))
    assert jax.tree.map(jnp.shape, vectors) == {"block": {"conv0": {"kernel": (16,)}}, "conv1": {"kernel": (7,)}}
    for _ in range(100):
        vectors = spectral_norm.iterate(params, vectors)
    done = spectral_norm.normalised(params, vectors)
    assert jax.tree.structure(done) == jax.tree.structure(params)
    for before, after in ((params["block"]["conv0"], done["block"]["conv0"]), (params["conv1"], done["conv1"])):
        np.testing.assert_allclose(largest(after["kernel"]), 1.0, rtol=1e-4)
        np.testing.assert_allclose(after["kernel"] * largest(before["kernel"]), before["kernel"], rtol=1e-3)
    np.testing.assert_array_equal(done["block"]["conv0"]["bias"], params["block"]["conv0"]["bias"])
    np.testing.assert_array_equal(done["block"]["other"]["kernel"], params["block"]["other"]["kernel"])


def test_the_start_is_close_already_and_each_iteration_closer() -> None:
    params = kernels()
    vectors = spectral_norm.start(params, ("conv0", "conv1"))
    kernel, values = params["block"]["conv0"]["kernel"], []
    for _ in range(5):
        values.append(float(spectral_norm.singular_value(kernel, vectors["block"]["conv0"]["kernel"])))
        vectors = spectral_norm.iterate(params, vectors)
    assert 0.95 * largest(kernel) < values[0]
    assert all(a <= b * (1 + 1e-6) for a, b in zip(values, values[1:], strict=False))
    assert values[-1] <= largest(kernel) * (1 + 1e-5)


def test_the_gradient_is_that_of_the_singular_value() -> None:
    """With the vectors held: d sigma / d W = v u', the outer product of the singular vectors."""
    kernel = kernels()["conv1"]["kernel"]
    left, values, right = np.linalg.svd(np.asarray(kernel, np.float64), full_matrices=False)
    gradient = jax.grad(spectral_norm.singular_value)(kernel, jnp.asarray(right[0], jnp.float32))
    np.testing.assert_allclose(gradient, np.outer(left[:, 0], right[0]), atol=1e-5)
    size = jax.grad(lambda k: jnp.vdot(spectral_norm.normalised(k, {"l": {"kernel": right[0]}})["l"]["kernel"], kernel))
    pull = size({"l": {"kernel": kernel}})["l"]["kernel"]
    np.testing.assert_allclose(jnp.vdot(pull, kernel), 0.0, atol=1e-4)  # scaling a kernel changes nothing
