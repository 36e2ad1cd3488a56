"""Masks from a trained generator: image i depends on the key and on i, on nothing else."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax import labels
from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.growth import Phase, fade_alpha
from tsgan_jax.masks.mapping import Mapping, mapping_of, num_layers, truncate
from tsgan_jax.masks.small_objects import class_scale
from tsgan_jax.masks.state import MaskGanState
from tsgan_jax.masks.synthesis import Synthesis, layer_noise, synthesis_of
from tsgan_jax.nn.resample import blur
from tsgan_jax.train.keys import stream
from tsgan_jax.train.learner import Params
from tsgan_jax.types import Array, Key

Indices = Array | np.ndarray | Sequence[int]


@dataclass(frozen=True)
class MaskGenerator:
    """A generator to draw masks from.

    mapping, synthesis: the networks (static); params: their running mean; w_avg: [w_dim]; alpha: the fade at
    which it was taken, 1 after a stable phase.
    weights: how often each class's share counts when a pixel's class is decided: where a young generator hesitates,
    a class so rare as nodules seldom wins, and trachea beside nodules does.  smooth: whether shares pass the
    [1, 2, 1] blur first (sigma .7 px), for outlines without loose pixels.  fill: whether background that the body
    encloses takes the next class, for body is the filled outline (one real mask in 300 has such a hole).
    """

    mapping: Mapping
    synthesis: Synthesis
    params: Params
    w_avg: Array
    alpha: Array
    weights: tuple[float, ...] = (1.0,) * labels.NUM_CLASSES
    smooth: bool = False
    fill: bool = False

    @property
    def resolution(self) -> int:
        """Height and width of its masks."""
        return self.synthesis.resolution


def generator_of(state: MaskGanState, config: MasksConfig, phase: Phase) -> MaskGenerator:
    """The generator of a training state of `phase`; shares the state's arrays (copy before donating them)."""
    alpha = fade_alpha(phase, state.images_seen)
    networks = mapping_of(config), synthesis_of(config, phase)
    weights = class_scale({labels.NODULE: config.drawn_weight, labels.TRACHEA: config.drawn_trachea_weight})
    return MaskGenerator(
        *networks, state.ema, state.w_avg, alpha, tuple(weights.tolist()), smooth=config.smooth, fill=config.fill
    )


def chunk_size(resolution: int) -> int:
    """Masks computed at once: a constant of the resolution, so that no caller's batch size changes a mask."""
    return max(1, min(16, 1024 // resolution))


def class_maps(generator: MaskGenerator, key: Key, indices: Indices, truncation: float = 0.7) -> np.ndarray:
    """Class shares float32 [n, r, r, 6] (softmax, summing to 1) of images `indices` [n], integers.

    Each image's latent and noise come from `fold_in(key, index)`.  truncation: psi of the first 8 layers;
    1 for none (for figures of merit), smaller for more typical masks.
    """
    return _in_chunks(_shares, generator, key, indices, truncation)


def sample_masks(generator: MaskGenerator, key: Key, indices: Indices, truncation: float = 0.7) -> np.ndarray:
    """Masks uint8 [n, r, r] with the codes of `labels`: at each pixel the largest share of `class_maps`, each
    counted by `generator.weights`, all of them blurred and holes filled where `generator` says so.
    """
    draw = functools.partial(_codes, smooth=generator.smooth, fill=generator.fill)
    return _in_chunks(draw, generator, key, indices, truncation, np.array(generator.weights, np.float32))


def _in_chunks(
    draw: Callable[..., Array],
    generator: MaskGenerator,
    key: Key,
    indices: Indices,
    truncation: float,
    *scale: np.ndarray,
) -> np.ndarray:
    """`draw` over chunks of one compiled size, the last one filled up with its own last index."""
    wanted = np.asarray(indices, np.uint32)
    size = chunk_size(generator.resolution)
    parts = []
    for start in range(0, len(wanted), size):
        part = wanted[start : start + size]
        filled = np.pad(part, (0, size - len(part)), mode="edge")
        out = draw(
            generator.mapping,
            generator.synthesis,
            generator.params,
            generator.w_avg,
            generator.alpha,
            key,
            filled,
            jnp.float32(truncation),
            *scale,
        )
        parts.append(np.asarray(out)[: len(part)])
    if not parts:
        raise ValueError("no indices given")
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnames=("mapping", "synthesis"))
def _shares(
    mapping: Mapping,
    synthesis: Synthesis,
    params: Params,
    w_avg: Array,
    alpha: Array,
    key: Key,
    indices: Array,
    truncation: Array,
) -> Array:
    """Class shares [n, r, r, 6] of one chunk."""

    def drawn(index: Array) -> tuple[Array, tuple[Array, ...]]:
        own = jax.random.fold_in(key, index)
        noise = layer_noise(stream(own, "noise"), synthesis.resolution)
        return jax.random.normal(stream(own, "latent"), (mapping.z_dim,)), noise

    z, noise = jax.vmap(drawn)(indices)
    w = mapping.apply({"params": params["mapping"]}, z)
    ws = jnp.repeat(w[:, None], num_layers(synthesis.resolution), axis=1)
    return synthesis.apply({"params": params["synthesis"]}, truncate(ws, w_avg, truncation), noise, alpha)


@functools.partial(jax.jit, static_argnames=("mapping", "synthesis", "smooth", "fill"))
def _codes(mapping: Mapping, synthesis: Synthesis, *arrays: Array, smooth: bool, fill: bool) -> Array:
    """Class codes uint8 [n, r, r] of one chunk; the last of `arrays` scales the classes, the others are `_shares`'."""
    *inputs, scale = arrays
    shares = _shares(mapping, synthesis, *inputs)
    weighed = (blur(shares) if smooth else shares) * scale
    codes = weighed.argmax(axis=-1)
    if fill:
        inside = enclosed(codes == labels.BACKGROUND)
        codes = jnp.where(inside, weighed.at[..., labels.BACKGROUND].set(-1.0).argmax(axis=-1), codes)
    return codes.astype(jnp.uint8)


def enclosed(region: Array) -> Array:
    """The pixels of a region bool [n, h, w] that no path over sides of its pixels joins to the image's border."""
    edge = jnp.ones(region.shape[1:], bool).at[1:-1, 1:-1].set(False)

    def spread(reached: tuple[Array, Array]) -> tuple[Array, Array]:
        now, _ = reached
        wide = jnp.pad(now, ((0, 0), (1, 1), (1, 1)))
        up, down, left, right = wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]
        new = region & (now | up | down | left | right)
        return new, (new != now).any()

    outside, _ = jax.lax.while_loop(lambda reached: reached[1], spread, (region & edge, region.any()))
    return region & ~outside
