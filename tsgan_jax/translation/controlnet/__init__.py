"""ControlNet-style diffusion (Zhang et al. 2023) without Stable Diffusion's prior: it learns from the CT alone."""

from tsgan_jax.translation.controlnet.translator import controlnet

__all__ = ["controlnet"]
