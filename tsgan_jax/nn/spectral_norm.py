"""Spectral normalisation (Miyato et al. 2018): kernels divided by their largest singular value.

A kernel [..., c, f] counts as the matrix of f columns that it is when flattened.  Its largest singular value is
followed by power iteration, on one vector [f] per kernel: one iteration a training step.  The vectors are arrays
of the training state and no parameters (Adam never sees them); networks are given the divided kernels, so their
layers are the ordinary ones.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from tsgan_jax.types import Array

Params = Any
Vectors = Any
"""A part of the parameters' tree, with a vector in the place of each normalised kernel."""

FIRST_ITERATIONS = 15
"""At the start, so that the first steps train with the right values already."""


def start(params: Params, layers: Collection[str]) -> Vectors:
    """Vectors for the kernels of the layers of these names, anywhere in the tree."""
    chosen = {path: leaf for path, leaf in flatten_dict(params).items() if path[-1] == "kernel" and path[-2] in layers}
    ones = {path: jnp.full(leaf.shape[-1], leaf.shape[-1] ** -0.5) for path, leaf in chosen.items()}
    return jax.lax.fori_loop(0, FIRST_ITERATIONS, lambda _, vectors: iterate(params, vectors), unflatten_dict(ones))


def iterate(params: Params, vectors: Vectors) -> Vectors:
    """One power iteration of every vector; no gradient passes."""
    kernels = flatten_dict(params)

    def one(path: tuple[str, ...], u: Array) -> Array:
        matrix = _matrix(kernels[path])
        return jax.lax.stop_gradient(_unit((matrix @ u) @ matrix))

    return unflatten_dict({path: one(path, u) for path, u in flatten_dict(vectors).items()})


def normalised(params: Params, vectors: Vectors) -> Params:
    """The parameters, those kernels that have a vector divided by their singular value along it.

    Gradients pass through the value, not through the vector, as published.
    """
    kernels = flatten_dict(params)
    for path, u in flatten_dict(vectors).items():
        kernels[path] = kernels[path] / singular_value(kernels[path], u)
    return unflatten_dict(kernels)


def singular_value(kernel: Array, u: Array) -> Array:
    """The largest singular value of kernel [..., f], as far as u [f] is its right singular vector."""
    image = _matrix(kernel) @ u
    return jnp.vdot(jax.lax.stop_gradient(_unit(image)), image)


def _matrix(kernel: Array) -> Array:
    return kernel.reshape(-1, kernel.shape[-1])


def _unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)
