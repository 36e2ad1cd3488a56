"""Masks from a trained generator: image i depends on the key and on i, on nothing else."""

import functools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks import calibration
from tsgan_jax.masks.calibration import Calibration, Objects
from tsgan_jax.masks.growth import MaskGanState, Phase, fade_alpha
from tsgan_jax.masks.mapping import Mapping as MappingNetwork
from tsgan_jax.masks.mapping import mapping_of, num_layers, truncate
from tsgan_jax.masks.representation import Representation, representation_of
from tsgan_jax.masks.synthesis import Synthesis, layer_noise, synthesis_of
from tsgan_jax.train.devices import on_cpu
from tsgan_jax.train.learner import Params, stream
from tsgan_jax.types import Array, Key

Indices = Array | np.ndarray | Sequence[int]

AT_A_TIME = 4
"""Chunks on the device at a time: some are computed while the one before them is decoded."""

CALIBRATION_MASKS = 256
"""Drawn to calibrate a generator: the share of masks with a nodule is then right within .02."""


@dataclass(frozen=True, eq=False)
class MaskGenerator:
    """A generator to draw masks from.

    mapping, synthesis: the networks (static); params: their running mean; w_avg: [w_dim]; alpha: the fade at
    which it was taken, 1 after a stable phase.  size: height and width of its masks; the network's own resolution may
    be lower (`representation.decode` enlarges).
    objects: the small objects of the real masks it was trained on, by class, to which its masks are calibrated
    (calibration.py); none: maps are decoded as they are.
    """

    mapping: MappingNetwork
    synthesis: Synthesis
    params: Params
    w_avg: Array
    alpha: Array
    representation: Representation
    size: int
    objects: Mapping[int, Objects] | None = None


def generator_of(
    state: MaskGanState, config: MasksConfig, phase: Phase, objects: Mapping[int, Objects] | None = None
) -> MaskGenerator:
    """The generator of a training state of `phase`; shares the state's arrays (copy before donating them).

    objects: of real masks, used where `config.calibrate` is on.
    """
    return MaskGenerator(
        mapping_of(config),
        synthesis_of(config, phase),
        state.ema,
        state.w_avg,
        fade_alpha(phase, state.images_seen),
        representation_of(config),
        config.resolution,
        objects if config.calibrate else None,
    )


def chunk_size(resolution: int) -> int:
    """Masks of one program: a constant of the device's kind and the resolution, so that no caller's batch changes one.

    More fill no accelerator better; on a CPU several programs run side by side.
    """
    most = 16 if on_cpu() else 128
    return max(1, min(most, 64 * most // resolution))


def sample_maps(generator: MaskGenerator, key: Key, indices: Indices, truncation: float = 1.0) -> np.ndarray:
    """Encoded masks float32 [n, r, r, c] of images `indices` [n], integers, at the network's resolution.

    Each image's latent and noise come from `fold_in(key, index)`.  truncation: psi of the first 8 layers;
    1 for none, smaller for more typical masks.  Compiled once for a network, whatever n is.
    """
    return np.concatenate(list(_chunks(generator, key, indices, truncation)))


def sample_masks(generator: MaskGenerator, key: Key, indices: Indices, truncation: float = 1.0) -> np.ndarray:
    """Masks uint8 [n, size, size] with the codes of `labels`: `sample_maps`, decoded while the device computes more.

    The first call for a generator and a truncation also draws `CALIBRATION_MASKS` masks, if it is to be calibrated.
    """
    chunks = _chunks(generator, key, indices, truncation)
    if generator.objects is None:
        return np.concatenate([generator.representation.decode(maps, generator.size) for maps in chunks])
    rule = calibration_of(generator, truncation)
    return np.concatenate([calibration.decode(maps, generator.size, rule) for maps in chunks])


def walk_mask(
    generator: MaskGenerator, ends: Key, share: float, truncation: float = 1.0, second_from: int | None = None
) -> np.ndarray:
    """The mask uint8 [size, size] at `share` of the way from one image to another: 0 the first, 1 the second.

    ends: [2], both images' own keys, `fold_in(key, index)`.  w moves along a straight line, layer noise along a quarter
    circle, on which its variance stays.  second_from: the styled layer from which on w is the second image's (style
    mixing); None: the same w for every layer.
    """
    network = (generator.mapping, generator.synthesis, generator.params, generator.w_avg, generator.alpha)
    first = num_layers(generator.synthesis.resolution) if second_from is None else second_from
    maps = np.asarray(_walked(*network, ends, jnp.float32(share), jnp.int32(first), jnp.float32(truncation)))
    if generator.objects is None:
        return generator.representation.decode(maps, generator.size)[0]
    return calibration.decode(maps, generator.size, calibration_of(generator, truncation))[0]


@functools.lru_cache(maxsize=8)
def calibration_of(generator: MaskGenerator, truncation: float) -> dict[int, Calibration]:
    """The calibration of masks drawn at a truncation: a function of the generator's parameters alone."""
    key = stream(jax.random.key(0), "calibration")
    maps = sample_maps(generator, key, np.arange(CALIBRATION_MASKS), truncation)
    return calibration.calibrate(maps, generator.size, generator.objects or {})


def _chunks(generator: MaskGenerator, key: Key, indices: Indices, truncation: float) -> Iterator[np.ndarray]:
    """Maps of the images in parts of up to `chunk_size`; AT_A_TIME parts are on the device."""
    wanted = np.asarray(indices, np.uint32)
    if not len(wanted):
        raise ValueError("no indices given")
    size = chunk_size(generator.synthesis.resolution)
    computing: deque[tuple[int, Array]] = deque()
    for start in range(0, len(wanted), size):
        part = wanted[start : start + size]
        filled = np.pad(part, (0, size - len(part)), mode="edge")  # so that every chunk has the compiled size
        maps = _maps(
            generator.mapping,
            generator.synthesis,
            generator.params,
            generator.w_avg,
            generator.alpha,
            key,
            filled,
            jnp.float32(truncation),
        )
        computing.append((len(part), maps))
        if len(computing) == AT_A_TIME:
            yield _fetched(*computing.popleft())
    while computing:
        yield _fetched(*computing.popleft())


def _fetched(count: int, maps: Array) -> np.ndarray:
    return np.asarray(maps)[:count]


@functools.partial(jax.jit, static_argnames=("mapping", "synthesis"))
def _maps(
    mapping: MappingNetwork,
    synthesis: Synthesis,
    params: Params,
    w_avg: Array,
    alpha: Array,
    key: Key,
    indices: Array,
    truncation: Array,
) -> Array:
    """Maps [n, r, r, c] of one chunk."""

    own = jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)
    z = jax.vmap(lambda key: jax.random.normal(stream(key, "latent"), (mapping.z_dim,)))(own)
    noise_keys = jax.vmap(lambda key: stream(key, "noise"))(own)
    return maps_of(mapping, synthesis, params, w_avg, alpha, z, noise_keys, truncation)


def maps_of(
    mapping: MappingNetwork,
    synthesis: Synthesis,
    params: Params,
    w_avg: Array,
    alpha: Array,
    z: Array,
    noise_keys: Key,
    truncation: Array | float,
) -> Array:
    """Maps [n, r, r, c] of latents z [n, z_dim]; noise_keys [n]: of each image's layer noise."""
    w = mapping.apply({"params": params["mapping"]}, z)
    ws = jnp.repeat(w[:, None], num_layers(synthesis.resolution), axis=1)
    noise = jax.vmap(lambda key: layer_noise(key, synthesis.resolution))(noise_keys)
    return synthesis.apply({"params": params["synthesis"]}, truncate(ws, w_avg, truncation), noise, alpha)


@functools.partial(jax.jit, static_argnames=("mapping", "synthesis"))
def _walked(
    mapping: MappingNetwork,
    synthesis: Synthesis,
    params: Params,
    w_avg: Array,
    alpha: Array,
    ends: Key,
    share: Array,
    second_from: Array,
    truncation: Array,
) -> Array:
    """Maps [1, r, r, c] of `walk_mask`."""
    z = jax.vmap(lambda key: jax.random.normal(stream(key, "latent"), (mapping.z_dim,)))(ends)
    first, second = mapping.apply({"params": params["mapping"]}, z)
    layers = jnp.arange(num_layers(synthesis.resolution))[:, None]
    ws = jnp.where(layers < second_from, (1 - share) * first + share * second, second)[None]
    noise = jax.vmap(lambda key: layer_noise(stream(key, "noise"), synthesis.resolution))(ends)
    angle = share * jnp.pi / 2
    turned = tuple(jnp.cos(angle) * each[:1] + jnp.sin(angle) * each[1:] for each in noise)
    return synthesis.apply({"params": params["synthesis"]}, truncate(ws, w_avg, truncation), turned, alpha)
