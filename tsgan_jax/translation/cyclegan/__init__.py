"""CycleGAN (Zhu et al. 2017): residual generators both ways, held together by the way back."""

from tsgan_jax.translation.cyclegan.translator import cyclegan

__all__ = ["cyclegan"]
