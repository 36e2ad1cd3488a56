"""What stage 1 carries from step to step, whatever the phase."""

import flax.struct

from tsgan_jax.train.learner import Params, Player
from tsgan_jax.types import Array, Key


@flax.struct.dataclass
class MaskGanState:
    """All that stage 1 needs to go on.

    gen: parameters {"mapping", "synthesis"}; ema: their running mean, which samples are drawn from;
    w_avg: float32 [w_dim], running mean of w, for truncation.  The phase follows from `images_seen`
    (`growth.phase_at`).
    """

    step: Array
    images_seen: Array
    key: Key
    gen: Player
    critic: Player
    ema: Params
    w_avg: Array
