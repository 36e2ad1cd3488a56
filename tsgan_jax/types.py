"""Types that several packages use.  Traced values are flax.struct dataclasses, static ones frozen dataclasses."""

import flax.struct
import jax

Array = jax.Array
Key = jax.Array
Metrics = dict[str, jax.Array]
"""Name to scalar array; the metrics of one training step."""


@flax.struct.dataclass
class MaskBatch:
    """A batch of real data for stage 1.

    maps: float32 [b, r, r, c], encoded label maps (masks/representation.py), averaged from the
        prepared resolution to r.
    """

    maps: Array


@flax.struct.dataclass
class PairBatch:
    """A batch of real data for stage 2.

    mask: uint8 [b, h, w], class codes of `labels`.
    ct: float32 [b, h, w, 1], HU window mapped to [-1, 1] (`images.to_unit`).
    """

    mask: Array
    ct: Array
