"""Shapes that cross module borders.  Traced values are flax.struct dataclasses, static ones frozen dataclasses."""

import flax.struct
import jax

Array = jax.Array
Key = jax.Array
Metrics = dict[str, jax.Array]
"""Name to scalar array; what one training step reports."""


@flax.struct.dataclass
class MaskBatch:
    """Stage 1's real data.

    maps: float32 [b, r, r, c], encoded label maps (masks/representation.py), averaged over the pixels of the prepared
        resolution that make up one of resolution r.
    """

    maps: Array


@flax.struct.dataclass
class PairBatch:
    """Stage 2's real data.

    mask: uint8 [b, h, w], class codes of `labels`.
    ct: float32 [b, h, w, 1], HU window mapped to [-1, 1] (`images.to_unit`).
    """

    mask: Array
    ct: Array
