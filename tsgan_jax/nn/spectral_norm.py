"""Spectral normalisation (Miyato et al. 2018): kernels divided by their largest singular value.

A kernel [..., c, f] is flattened to a matrix of f columns.  Power iteration tracks its largest singular value, with
one vector [f] per kernel and one iteration per training step.  The vectors are part of the training state, not
parameters.  Networks receive the divided kernels, so their layers are ordinary ones.  (Flax's SpectralNorm keeps its
vectors as variables of the module, which every call would have to hand on.)
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from tsgan_jax.types import Array

Params = Any
Vectors = Any
"""A subtree of the parameters, with a vector in place of each normalised kernel."""

FIRST_ITERATIONS = 15
"""Iterations at the start, so that the first training steps use accurate values."""


def start(params: Params, layers: Collection[str]) -> Vectors:
    """Initial vectors for the kernels of the named layers, anywhere in the tree."""
    chosen = {path: leaf for path, leaf in flatten_dict(params).items() if path[-1] == "kernel" and path[-2] in layers}
    ones = {path: jnp.full(leaf.shape[-1], leaf.shape[-1] ** -0.5) for path, leaf in chosen.items()}
    return jax.lax.fori_loop(0, FIRST_ITERATIONS, lambda _, vectors: iterate(params, vectors), unflatten_dict(ones))


def iterate(params: Params, vectors: Vectors) -> Vectors:
    """One power iteration of every vector, without gradient."""
    kernels = flatten_dict(params)

    def one(path: tuple[str, ...], u: Array) -> Array:
        matrix = _matrix(kernels[path])
        return jax.lax.stop_gradient(_unit((matrix @ u) @ matrix))

    return unflatten_dict({path: one(path, u) for path, u in flatten_dict(vectors).items()})


def normalised(params: Params, vectors: Vectors) -> Params:
    """The parameters, where each kernel with a vector is divided by its singular value along that vector.

    Gradients flow through the singular value, not through the vector, as published.
    """
    kernels = flatten_dict(params)
    for path, u in flatten_dict(vectors).items():
        kernels[path] = kernels[path] / singular_value(kernels[path], u)
    return unflatten_dict(kernels)


def singular_value(kernel: Array, u: Array) -> Array:
    """Estimate of the largest singular value of kernel [..., f] from its approximate right singular vector u [f]."""
    image = _matrix(kernel) @ u
    return jnp.vdot(jax.lax.stop_gradient(_unit(image)), image)


def _matrix(kernel: Array) -> Array:
    return kernel.reshape(-1, kernel.shape[-1])


def _unit(vector: Array) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)
