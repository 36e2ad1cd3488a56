"""Losses of both stages: arrays in, scalars out, no parameters.

Part 1, stage 1: WGAN-GP with drift (Eq. 1 and 2).
Part 2, stage 2: adversarial, L1 and perceptual losses (Eq. 8 to 10).
Part 3: additional losses of GauGAN.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from tsgan_jax.types import Array, Key

# ---------------------------------------------------------------- part 1: stage 1, WGAN-GP (Eq. 1 and 2)


def interpolate(key: Key, real: Array, fake: Array) -> Array:
    """x-hat of Eq. 1: for every example [n, ...] a uniform random point between its real and its fake."""
    u = jax.random.uniform(key, real.shape[:1], real.dtype).reshape(-1, *[1] * (real.ndim - 1))
    return real + u * (fake - real)


def gradient_penalty(score: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """`E[(|grad D(x)| - 1)^2]` of Eq. 1 and the mean norm, for score: [n, ...] -> [n].

    The gradient is that of the SUM of the scores, so it is the gradient of each example; that of the mean would be 1/n
    of it (A19).  Norm in float32, with 1e-12 inside the root so that a zero gradient has a finite derivative.
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


# ---------------------------------------------------------------- part 2: stage 2, Eq. 8 to 10

GanLoss = Literal["vanilla", "lsgan"]


def adversarial(logits: Array, real: bool, kind: GanLoss) -> Array:
    """Mean loss of classifying logits as real or as fake: cross-entropy ("vanilla") or squares ("lsgan"); A16."""
    if kind == "vanilla":
        return jax.nn.softplus(-logits if real else logits).mean()
    return jnp.square(logits - float(real)).mean()


def patch_critic(real_logits: Array, fake_logits: Array, kind: GanLoss) -> Array:
    """Half the sum of the critic's losses on real and on fake; pix2pix halves it to slow the critic."""
    return 0.5 * (adversarial(real_logits, True, kind) + adversarial(fake_logits, False, kind))


def mean_l1(a: Array, b: Array) -> Array:
    """Eq. 9, as a mean over pixels (A15); in float32."""
    return jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).mean()


def perceptual(
    fake: Mapping[str, Array], real: Mapping[str, Array], weights: Mapping[str, float] | None = None
) -> Array:
    """Sum over layers of the mean L1 between features, unweighted as in Eq. 10 or weighted by layer.

    No gradient reaches `real`.
    """
    terms = {layer: mean_l1(fake[layer], jax.lax.stop_gradient(real[layer])) for layer in fake}
    return sum((terms[layer] * (weights[layer] if weights else 1.0) for layer in terms), start=jnp.zeros(()))


# ---------------------------------------------------------------- part 3: GauGAN (Park et al. 2019)


def mean_of_means(scales: Sequence[Array]) -> Array:
    """The mean over scales of each one's mean logit; arrays of any shape."""
    return jnp.stack([logits.mean() for logits in scales]).mean()


def hinge_critic(real: Sequence[Array], fake: Sequence[Array]) -> Array:
    """Hinge loss of critics at several scales (logits of any shape), the mean over scales."""
    return mean_of_means([jax.nn.relu(1.0 - r) for r in real]) + mean_of_means([jax.nn.relu(1.0 + f) for f in fake])


def hinge_generator(fake: Sequence[Array]) -> Array:
    """Hinge loss of the generator, which is linear."""
    return -mean_of_means(fake)


def feature_matching(fake: Sequence[Sequence[Array]], real: Sequence[Sequence[Array]]) -> Array:
    """Mean L1 between a critic's hidden layers, summed over layers, the mean over scales.

    fake, real: every scale's outputs, layer by layer; the last of them, the logits, is not used.  No gradient
    reaches `real`.
    """
    pairs = [pair for f, r in zip(fake, real, strict=True) for pair in zip(f[:-1], r[:-1], strict=True)]
    return sum((mean_l1(f, jax.lax.stop_gradient(r)) for f, r in pairs), start=jnp.zeros(())) / len(fake)


def divergence_from_normal(mean: Array, log_variance: Array) -> Array:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), summed over axis 1, the mean over images [n, d]."""
    return 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance).sum(axis=1).mean()
