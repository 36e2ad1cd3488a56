"""How a slice looks beyond its mask, as a few numbers: brightness, contrast and grain of each region.

Scanner, kernel, dose, contrast agent and patient differ between scans, and no mask tells them.  A generator that is
not told either paints their mean.  In training it is given the numbers of the real slice; for a new image it is given
those of a training slice drawn at random.
"""

import flax.struct
import jax
import jax.numpy as jnp

from tsgan_jax.labels import BACKGROUND, BODY, LEFT_LUNG, RIGHT_LUNG
from tsgan_jax.nn.resample import blur
from tsgan_jax.types import Array, Key

REGIONS = ((BACKGROUND,), (BODY,), (LEFT_LUNG, RIGHT_LUNG))
NUMBERS = 3 * len(REGIONS)
KEPT = 1024
"""Training slices whose numbers are kept, the latest ones."""


@flax.struct.dataclass
class Appearances:
    """Numbers of the latest training slices: rows [KEPT, NUMBERS], of which the first `count` are filled."""

    rows: Array
    count: Array  # int32, slices seen


def none_yet() -> Appearances:
    """Before the first slice."""
    return Appearances(jnp.zeros((KEPT, NUMBERS)), jnp.int32(0))


def measured(ct: Array, mask: Array) -> Array:
    """[n, NUMBERS] of ct [n, h, w, 1] in [-1, 1] and mask [n, h, w]: for each region of the mask the mean, and the
    logarithms of the deviation and of the mean distance from the blurred image; 0 for a region that is empty.
    """
    image, grain = ct[..., 0], jnp.abs(ct - blur(ct))[..., 0]

    def of(classes: tuple[int, ...]) -> list[Array]:
        inside = jnp.isin(mask, jnp.array(classes)).astype(image.dtype)
        pixels = inside.sum((1, 2))

        def mean(x: Array) -> Array:
            return (x * inside).sum((1, 2)) / jnp.maximum(pixels, 1.0)

        middle = mean(image)
        spread = jnp.sqrt(mean(jnp.square(image - middle[:, None, None])))
        found = (middle, jnp.log(spread + 0.01), jnp.log(mean(grain) + 0.01))
        return [jnp.where(pixels > 0, one, 0.0) for one in found]

    return jnp.stack([one for classes in REGIONS for one in of(classes)], axis=-1)


def kept(appearances: Appearances, rows: Array) -> Appearances:
    """With the rows [n, NUMBERS] of a batch in the place of the oldest ones."""
    places = (appearances.count + jnp.arange(len(rows))) % KEPT
    return Appearances(appearances.rows.at[places].set(rows), appearances.count + len(rows))


def standardised(appearances: Appearances, rows: Array) -> Array:
    """Rows [n, NUMBERS] with mean 0 and deviation 1 over the kept ones; 0 before there is one."""
    count = jnp.clip(appearances.count, 1, KEPT)
    filled = (jnp.arange(KEPT) < count)[:, None]
    mean = jnp.where(filled, appearances.rows, 0.0).sum(0) / count
    variance = jnp.where(filled, jnp.square(appearances.rows - mean), 0.0).sum(0) / count
    return (rows - mean) * jax.lax.rsqrt(variance + 1e-3)


def drawn(appearances: Appearances, keys: Key) -> Array:
    """The rows of slices drawn at random, one for each key [n]; standardised."""
    filled = jnp.clip(appearances.count, 1, KEPT)
    places = jax.vmap(lambda key: jax.random.randint(key, (), 0, filled))(keys)
    return standardised(appearances, appearances.rows[places])
