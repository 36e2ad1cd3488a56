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

    classes: float32 [b, r, r, 6], the share of each class in each pixel (area-pooled one-hot; the six
        sum to 1, and at the prepared resolution they are exactly one-hot).
    """

    classes: Array


@flax.struct.dataclass
class PairBatch:
    """Stage 2's real data.

    mask: uint8 [b, h, w], class codes of `labels`.
    ct: float32 [b, h, w, 1], HU window mapped to [-1, 1] (`data/windows.py`).
    """

    mask: Array
    ct: Array
