"""GauGAN (Park et al. 2019): a generator whose every norm the mask modulates, against critics at two scales."""

from tsgan_jax.translation.gaugan.translator import gaugan

__all__ = ["gaugan"]
