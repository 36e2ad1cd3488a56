"""What keeps nodules and trachea, a thousandth of the pixels each, from being lost or misplaced while resolutions grow.

Ours, not the paper's (A23).
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax import labels
from tsgan_jax.nn.resample import downsample, fade, upsample
from tsgan_jax.types import Array


def class_scale(factors: Mapping[int, float]) -> np.ndarray:
    """float32 [6]: the factor of each class named, 1 for the others."""
    return np.array([factors.get(label, 1.0) for label in range(labels.NUM_CLASSES)], np.float32)


def crisp(shares: Array, weight: float) -> Array:
    """Class shares [n, r, r, 6] of pooled pixels to one-hot labels in which no nodule and no trachea is lost.

    A nodule's share counts `weight` times, and where it is the greatest of 5x5 pixels the pixel is nodule however
    small it is, and likewise trachea, which yields to nodules: so both are objects of a pixel or more from 4 px on, and
    growing only has to draw them finer.  Left to the resolution at which they first win a pixel, their place would be
    up to the noise of the last layers, and trachea would stand where nodules do.  Left soft, pixels at every edge would
    be drawn anew each time they are shown, and look like speckle.
    Labels that are one-hot already, as at the full resolution, stay as they are.
    """
    winner = jnp.argmax(shares * class_scale({labels.NODULE: weight}), axis=-1)
    for small in labels.SMALL:
        share = shares[..., small]
        highest = jax.lax.reduce_window(share, 0.0, jax.lax.max, (1, 5, 5), (1, 1, 1), "SAME")
        winner = jnp.where((share > 0) & (share == highest) & (winner != labels.NODULE), small, winner)
    return jax.nn.one_hot(winner, labels.NUM_CLASSES, dtype=shares.dtype)


def shown_masks(shares: Array, weight: float, alpha: Array | None) -> Array:
    """Real masks [n, r, r, 6] of a phase, one-hot.

    While it fades in (alpha), the shares are mixed with those of the phase before and then decided: pixel by pixel, as
    alpha rises, blocks turn to outlines.  (5x5 in `crisp` reaches the blocks on both sides of a doubled pixel's.)
    """
    return crisp(shares if alpha is None else fade(upsample(downsample(shares)), shares, alpha), weight)


def inner(shares: Array) -> Array:
    """Class shares [n, r, r, 6] without the outer sixteenth on each side, where no organ lies.

    Asked for a class, a generator paints it first where the critic, for its padding, sees least: along the edge.
    """
    edge = shares.shape[1] // 16
    return shares[:, edge : shares.shape[1] - edge, edge : shares.shape[2] - edge]


def placed(shares: Array) -> Array:
    """Class shares [n, r, r, 6] in which a small object counts as far as it is where it belongs, and as body elsewhere.

    A nodule: as far as a lung is near, within a 22nd of the side, 15 mm of a slice of 340 mm: one of 30 mm inside a
    lung is near all over, the outside of a chest wall is not.  Trachea: not where the square of that reach round it is
    half lung, nodule or background.  Asked for them wherever they be, a generator puts nodules on the skin and trachea
    beside nodules.  No gradient says that what is round them should change.
    """
    reach = 2 * max(1, round(shares.shape[1] / 22)) + 1
    near = _spread(shares[..., labels.LEFT_LUNG] + shares[..., labels.RIGHT_LUNG], reach, jax.lax.max)
    alien = _spread(1.0 - shares[..., labels.BODY] - shares[..., labels.TRACHEA], reach, jax.lax.add) / reach**2
    astray = jnp.zeros_like(shares).at[..., labels.NODULE].set(1.0 - near)
    stray = shares * astray.at[..., labels.TRACHEA].set(jnp.clip(2.0 * alien, 0.0, 1.0))
    return (shares - stray).at[..., labels.BODY].add(stray.sum(-1))


def _spread(share: Array, reach: int, combine: Callable[[Array, Array], Array]) -> Array:
    """`combine` (of 0 and others) of a share [n, r, r] over the reach x reach pixels round each; without gradient."""
    share = jax.lax.stop_gradient(share)
    for across in ((1, reach, 1), (1, 1, reach)):
        share = jax.lax.reduce_window(share, 0.0, combine, across, (1, 1, 1), "SAME")
    return share
