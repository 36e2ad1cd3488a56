"""ControlNet-style diffusion (Zhang et al. 2023) without Stable Diffusion's prior: trained on the CT only."""

from tsgan_jax.translation.controlnet.translator import controlnet

__all__ = ["controlnet"]
