"""Formulas of diffusion: adding noise (DDPM, Ho et al. 2020) and removing it (DDIM, Song et al. 2021).

`kept` is the share of the clean image's variance that remains at a time, alpha-bar of both papers.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.types import Array

Prediction = Literal["noise", "velocity", "clean"]
"""The network's output for a noisy image: the noise (DDPM), the velocity (Salimans and Ho 2022), or the clean image.

A noise prediction needs all patch * patch channels of a folded image, so the network must be wider than that.  A
clean image is smooth and needs fewer.
"""


def kept_signal(noise_steps: int, betas: tuple[float, float]) -> np.ndarray:
    """float32 [noise_steps], decreasing within (0, 1): products of 1 - beta, where beta rises linearly between
    `betas`."""
    return np.cumprod(1.0 - np.linspace(*betas, noise_steps)).astype(np.float32)


def add_noise(clean: Array, noise: Array, kept: Array) -> Array:
    """The noisy image of `clean` and `noise` ~ N(0, 1) (DDPM, Eq. 4); the arrays broadcast."""
    return jnp.sqrt(kept) * clean + jnp.sqrt(1.0 - kept) * noise


def clean_image(noisy: Array, noise: Array, kept: Array) -> Array:
    """The clean image of `noisy` (DDIM, Eq. 9), the inverse of `add_noise`; an estimate if `noise` is predicted."""
    return (noisy - jnp.sqrt(1.0 - kept) * noise) / jnp.sqrt(kept)


def target(clean: Array, noise: Array, kept: Array, kind: Prediction) -> Array:
    """The network's target for `add_noise(clean, noise, kept)`."""
    if kind == "velocity":
        return jnp.sqrt(kept) * noise - jnp.sqrt(1.0 - kept) * clean
    return noise if kind == "noise" else clean


def noise_in(noisy: Array, output: Array, kept: Array, kind: Prediction) -> Array:
    """The noise of a noisy image, from the network's output.

    When `kept` is small, the image is nearly all noise.  A small error in a predicted noise is then a large error in
    the clean image, which is not so for a predicted velocity or clean image.
    """
    if kind == "velocity":
        return jnp.sqrt(kept) * output + jnp.sqrt(1.0 - kept) * noisy
    return output if kind == "noise" else (noisy - jnp.sqrt(kept) * output) / jnp.sqrt(1.0 - kept)


def ddim_step(noisy: Array, noise: Array, kept: Array, kept_before: Array) -> Array:
    """The image at an earlier time (DDIM, Eq. 12, eta 0), without new noise.

    The estimate of the clean image is clipped to [-1, 1]; the predicted noise is not changed.
    """
    return add_noise(jnp.clip(clean_image(noisy, noise, kept), -1.0, 1.0), noise, kept_before)


def ddim_times(noise_steps: int, sampling_steps: int) -> np.ndarray:
    """int32 [sampling_steps], evenly spaced times from the last (nearly all noise) to 0."""
    return np.linspace(noise_steps - 1, 0, sampling_steps).round().astype(np.int32)


def ddim_sample(predict: Callable[[Array, Array], Array], start: Array, kept: np.ndarray, sampling_steps: int) -> Array:
    """The image in [-1, 1] that DDIM gives for `start`, noise ~ N(0, 1) of any shape.

    predict: (noisy image, int32 time) -> the noise in it; compiled once, run `sampling_steps` times.
    """
    times = ddim_times(len(kept), sampling_steps)
    before = np.append(kept[times[1:]], np.float32(1.0))

    def step(noisy: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        time, now, earlier = at
        return ddim_step(noisy, predict(noisy, time), now, earlier), None

    return jax.lax.scan(step, start, (jnp.asarray(times), jnp.asarray(kept[times]), jnp.asarray(before)))[0]
