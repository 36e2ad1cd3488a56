"""Layers without project nouns; the attention kernels are written for one example, lift them with `jax.vmap`."""

from tsgan_jax.nn.local_importance import local_importance_attention, soft_pool
from tsgan_jax.nn.window_attention import window_attention

__all__ = ["local_importance_attention", "soft_pool", "window_attention"]
