"""Diffusion as formulas: noise added (DDPM, Ho et al. 2020) and taken away again (DDIM, Song et al. 2021).

`kept` is the share of the clean image's variance that is left at a time, alpha-bar of both papers.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.types import Array

Prediction = Literal["noise", "velocity", "clean"]
"""What the network says of a noisy image: the noise (DDPM), how noise and image change places (Salimans and Ho 2022),
or the clean image.

Noise fills all patch * patch channels of a folded image, and a network not much wider must let all of it through; a
clean image is smooth and needs less.
"""


def kept_signal(noise_steps: int, betas: tuple[float, float]) -> np.ndarray:
    """float32 [noise_steps], falling within (0, 1): products of 1 - beta, beta rising linearly from first to last."""
    return np.cumprod(1.0 - np.linspace(*betas, noise_steps)).astype(np.float32)


def add_noise(clean: Array, noise: Array, kept: Array) -> Array:
    """What diffusion makes of `clean` with `noise` of N(0, 1) (DDPM, Eq. 4); arrays that broadcast."""
    return jnp.sqrt(kept) * clean + jnp.sqrt(1.0 - kept) * noise


def clean_image(noisy: Array, noise: Array, kept: Array) -> Array:
    """The image of which `add_noise` makes `noisy` (DDIM, Eq. 9); with predicted noise, a guess at it."""
    return (noisy - jnp.sqrt(1.0 - kept) * noise) / jnp.sqrt(kept)


def wanted(clean: Array, noise: Array, kept: Array, kind: Prediction) -> Array:
    """What the network is to say of `add_noise(clean, noise, kept)`."""
    if kind == "velocity":
        return jnp.sqrt(kept) * noise - jnp.sqrt(1.0 - kept) * clean
    return noise if kind == "noise" else clean


def noise_in(noisy: Array, said: Array, kept: Array, kind: Prediction) -> Array:
    """The noise of a noisy image, given what the network says of it.

    Where little is kept nearly all of the image is noise: a small error in a noise that is said outright is then a
    large one in the clean image, while a velocity's or a clean image's stays as it is.
    """
    if kind == "velocity":
        return jnp.sqrt(kept) * said + jnp.sqrt(1.0 - kept) * noisy
    return said if kind == "noise" else (noisy - jnp.sqrt(kept) * said) / jnp.sqrt(1.0 - kept)


def ddim_step(noisy: Array, noise: Array, kept: Array, kept_before: Array) -> Array:
    """From one time to an earlier one (DDIM, Eq. 12, eta 0): no noise is drawn.

    The guess at the clean image is cut to [-1, 1], the noise stays as predicted.
    """
    return add_noise(jnp.clip(clean_image(noisy, noise, kept), -1.0, 1.0), noise, kept_before)


def ddim_times(noise_steps: int, sampling_steps: int) -> np.ndarray:
    """int32 [sampling_steps], evenly spaced times from the last, where nearly all is noise, to 0."""
    return np.linspace(noise_steps - 1, 0, sampling_steps).round().astype(np.int32)


def ddim_sample(predict: Callable[[Array, Array], Array], start: Array, kept: np.ndarray, sampling_steps: int) -> Array:
    """The image in [-1, 1] that DDIM reaches from `start`, noise of N(0, 1) of any shape.

    predict: (noisy image, int32 time) -> the noise in it; compiled once, run `sampling_steps` times.
    """
    times = ddim_times(len(kept), sampling_steps)
    before = np.append(kept[times[1:]], np.float32(1.0))

    def step(noisy: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        time, now, earlier = at
        return ddim_step(noisy, predict(noisy, time), now, earlier), None

    return jax.lax.scan(step, start, (jnp.asarray(times), jnp.asarray(kept[times]), jnp.asarray(before)))[0]
