"""Neural-network layers that are not specific to this project.  Attention functions take one example; use
`jax.vmap`."""

from tsgan_jax.nn.local_importance import local_importance_attention, soft_pool
from tsgan_jax.nn.window_attention import window_attention

__all__ = ["local_importance_attention", "soft_pool", "window_attention"]
