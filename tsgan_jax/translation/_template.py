"""A complete, tiny method.  A new one begins as a copy of this file; docs/extending.md has the steps.

It paints each class of the mask in one grey level, learned by L1, so that it ends at the median of the class.
Adversarial methods take state and update from `common.py` instead; see dl_pix2pix.py.
"""

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tsgan_jax.config.translation import TranslatorConfig
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.losses import mean_l1
from tsgan_jax.train.learner import Params, Player, new_player, update_player
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.common import rate_factor
from tsgan_jax.types import Array, Key, Metrics, PairBatch


class LevelsConfig(TranslatorConfig):
    """Static settings, closed over by the three functions."""

    learning_rate: float = 0.05


@flax.struct.dataclass
class LevelsState:
    """Everything that a resumed run needs, as arrays; the loop reads the first three fields."""

    step: Array
    images_seen: Array
    key: Key
    levels: Player


def levels(config: LevelsConfig, images_per_epoch: int) -> Translator[LevelsState]:
    """A Translator with one learned grey level for each class."""

    def init(key: Key) -> LevelsState:
        zero = jnp.zeros((), jnp.int32)
        player = new_player(optax.adam(0.0, *config.adam_betas), {"level": jnp.zeros(NUM_CLASSES)})
        return LevelsState(step=zero, images_seen=zero, key=key, levels=player)

    def paint(params: Params, mask: Array) -> Array:
        return jnp.tanh(params["level"])[mask]

    def step(state: LevelsState, batch: PairBatch) -> tuple[LevelsState, Metrics]:
        def loss(params: Params) -> Array:
            return mean_l1(paint(params, batch.mask), batch.ct[..., 0])

        l1, grads = jax.value_and_grad(loss)(state.levels.params)
        rate = config.learning_rate * rate_factor(config, images_per_epoch, state.images_seen)
        player, norm = update_player(optax.adam(rate, *config.adam_betas), state.levels, grads)
        state = state.replace(  # type: ignore[attr-defined]
            step=state.step + 1, images_seen=state.images_seen + batch.ct.shape[0], levels=player
        )
        return state, {"l1": l1, "learning_rate": rate, "gradient": norm}

    def translate(state: LevelsState, masks: Array, keys: Key) -> Array:
        del keys  # a method with noise draws it for each image from the image's key
        return paint(state.levels.params, masks)

    return Translator(init, step, translate)
