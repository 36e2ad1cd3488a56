"""CycleGAN (Zhu et al. 2017): residual generators in both directions with a cycle loss."""

from tsgan_jax.translation.cyclegan.translator import cyclegan

__all__ = ["cyclegan"]
