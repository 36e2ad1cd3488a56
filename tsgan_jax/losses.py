"""Losses of both stages: arrays in, scalars out, no parameters.

Part 1, stage 1: WGAN-GP with drift (Eq. 1 and 2).
Part 2, stage 2: adversarial, L1 and perceptual losses (Eq. 8 to 10).
"""

from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from tsgan_jax.types import Array, Key

# ---------------------------------------------------------------- part 1: stage 1, WGAN-GP (Eq. 1 and 2)


def interpolate(key: Key, real: Array, fake: Array) -> Array:
    """x-hat of Eq. 1: for every example [n, ...] a uniformly drawn point between its real and its fake."""
    u = jax.random.uniform(key, real.shape[:1], real.dtype).reshape(-1, *[1] * (real.ndim - 1))
    return real + u * (fake - real)


def gradient_penalty(score: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """`E[(|grad D(x)| - 1)^2]` of Eq. 1 and the mean norm, for score: [n, ...] -> [n].

    The gradient is that of the SUM of the scores, hence each example's own; of their mean it would be 1/n of
    it (A19).  Norm in float32, with 1e-12 inside the root so that a zero gradient has a finite derivative.
    """
    gradient = jax.grad(lambda x: score(x).sum())(x).astype(jnp.float32)
    norm = jnp.sqrt(jnp.square(gradient).sum(axis=tuple(range(1, x.ndim))) + 1e-12)
    return jnp.square(norm - 1.0).mean(), norm.mean()


def score_drift(real_scores: Array, fake_scores: Array, on: Literal["all", "real"]) -> Array:
    """`E[D(.)^2]` of Eq. 1, over all scores (the paper's text) or the real ones (NVlabs); A18."""
    scores = jnp.concatenate([real_scores, fake_scores]) if on == "all" else real_scores
    return jnp.square(scores).mean()


def wasserstein_critic(real_scores: Array, fake_scores: Array) -> Array:
    """`E[D(fake)] - E[D(real)]`, the first part of Eq. 1; scores [n]."""
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator(fake_scores: Array) -> Array:
    """Eq. 2: `-E[D(fake)]`; scores [n]."""
    return -fake_scores.mean()


LEAST_SHARE = 1e-5
"""Of a class that a real batch lacks: kept alive, seldom seen."""


def class_balance(fake: Array, real: Array) -> Array:
    """Sum over the classes of Huber's loss of log(share made / real share); no part of the paper.

    fake, real: class shares [n, h, w, k] of two batches.  A class as rare as nodules can fall, while a new
    resolution fades in, to a share at which no critic's gradient reaches it; the gradient of this logarithm does not
    fade with the share.
    """
    wanted = jnp.maximum(real.mean(axis=(0, 1, 2)), LEAST_SHARE)
    return optax.huber_loss(_log(_winning(fake).mean(axis=(0, 1, 2))), jnp.log(wanted)).sum()


def class_presence(fake: Array, real: Array, label: int) -> Array:
    """`class_balance` of one class, by the geometric mean of the images' shares.

    For a class that every real image holds, as slices through nodules hold one: a few images rich in it do not make
    up for many without.
    """
    wanted = jnp.maximum(real[..., label].mean(axis=(1, 2)), LEAST_SHARE)
    made = _winning(fake)[..., label].mean(axis=(1, 2))
    return optax.huber_loss(_log(made).mean(), jnp.log(wanted).mean())


def _winning(shares: Array) -> Array:
    """Shares squared and normalised: a class spread thinly, which wins no pixel, hardly counts."""
    sharp = jnp.square(shares)
    return sharp / sharp.sum(axis=-1, keepdims=True)


def _log(share: Array) -> Array:
    return jnp.log(share + jnp.finfo(share.dtype).tiny)


# ---------------------------------------------------------------- part 2: stage 2, Eq. 8 to 10

GanLoss = Literal["vanilla", "lsgan"]


def adversarial(logits: Array, real: bool, kind: GanLoss) -> Array:
    """Mean loss of judging logits as real or as fake: cross-entropy ("vanilla") or squares ("lsgan"); A16."""
    if kind == "vanilla":
        return jax.nn.softplus(-logits if real else logits).mean()
    return jnp.square(logits - float(real)).mean()


def patch_critic(real_logits: Array, fake_logits: Array, kind: GanLoss) -> Array:
    """Half the sum of the critic's losses on real and on fake; pix2pix halves it to slow the critic."""
    return 0.5 * (adversarial(real_logits, True, kind) + adversarial(fake_logits, False, kind))


def mean_l1(a: Array, b: Array) -> Array:
    """Eq. 9, as a mean over pixels (A15); in float32."""
    return jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).mean()


def perceptual(fake: Mapping[str, Array], real: Mapping[str, Array]) -> Array:
    """Eq. 10: the unweighted sum over layers of the mean L1 between features; no gradient reaches `real`."""
    return sum((mean_l1(fake[layer], jax.lax.stop_gradient(real[layer])) for layer in fake), start=jnp.zeros(()))
