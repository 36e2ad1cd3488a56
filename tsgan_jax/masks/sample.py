"""Masks from a trained generator: image i depends on the key and on i, on nothing else."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.config import MasksConfig
from tsgan_jax.masks.calibration import calibrate
from tsgan_jax.masks.decoding import Calibration, decode
from tsgan_jax.masks.growth import MaskGanState, Phase, fade_alpha
from tsgan_jax.masks.networks import Mapping as MappingNetwork
from tsgan_jax.masks.networks import Synthesis, layer_noise, networks_of, num_layers, truncate
from tsgan_jax.masks.representation import Representation, representation_of
from tsgan_jax.masks.small_objects import Objects
from tsgan_jax.train.devices import on_cpu, overlapped
from tsgan_jax.train.learner import Params, stream
from tsgan_jax.types import Array, Key

Indices = Array | np.ndarray | Sequence[int]

AT_A_TIME = 4  # chunks on the device at a time: some are computed while the one before them is fetched
CALIBRATION_MASKS = 256  # drawn to calibrate a generator: the share of masks with a nodule is then right within .02


@dataclass(frozen=True, eq=False)
class MaskGenerator:
    """A generator to draw masks from."""

    mapping: MappingNetwork
    synthesis: Synthesis
    params: Params  # running mean of both networks'
    w_avg: Array  # [w_dim]
    alpha: Array  # of the fade, 1 after a stable phase
    representation: Representation
    size: int  # side of its masks; the network's own resolution may be lower
    objects: Mapping[int, Objects] | None = None  # small objects of real masks by class, to calibrate its masks to


def generator_of(
    state: MaskGanState, config: MasksConfig, phase: Phase, objects: Mapping[int, Objects] | None = None
) -> MaskGenerator:
    """The generator of a training state of `phase`; shares the state's arrays (copy before donating them)."""
    networks = networks_of(config, phase)
    return MaskGenerator(
        networks.mapping,
        networks.synthesis,
        state.ema,
        state.w_avg,
        fade_alpha(phase, state.images_seen),
        representation_of(config),
        config.resolution,
        objects if config.calibrate else None,
    )


def chunk_size(resolution: int) -> int:
    """Masks of one program: a constant of the device's kind and the resolution, so that no caller's batch changes a
    mask.  More fill no accelerator better; on a CPU several programs run side by side.
    """
    most = 16 if on_cpu() else 128
    return max(1, min(most, 64 * most // resolution))


def sample_maps(generator: MaskGenerator, key: Key, indices: Indices, truncation: float = 1.0) -> np.ndarray:
    """Encoded masks float32 [n, r, r, c] of images `indices` [n], integers, at the network's resolution.

    Each image's latent and noise come from `fold_in(key, index)`.  truncation: psi of the first 8 layers; 1 for none.
    Compiled once for a network, whatever n is.
    """
    return np.concatenate(list(_chunks(generator, key, indices, truncation, lambda maps: maps)))


def sample_masks(generator: MaskGenerator, key: Key, indices: Indices, truncation: float = 1.0) -> np.ndarray:
    """Masks uint8 [n, size, size] with the codes of `labels`: `sample_maps`, decoded.

    The first call for a generator and a truncation also draws `CALIBRATION_MASKS` masks, if it is to be calibrated.
    """
    return np.concatenate(list(_chunks(generator, key, indices, truncation, decoder(generator, truncation))))


def decoder(generator: MaskGenerator, truncation: float) -> Callable[[Array], Array]:
    """The function from a generator's maps [n, r, r, c] at a truncation to masks uint8 [n, size, size]."""
    if generator.objects is None:
        return lambda maps: generator.representation.decode(maps, generator.size)
    rules = calibration_of(generator, truncation)
    return lambda maps: decode(maps, generator.size, rules)


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
    maps = _walked(*network, ends, jnp.float32(share), jnp.int32(first), jnp.float32(truncation))
    return np.asarray(decoder(generator, truncation)(maps)[0])


@functools.lru_cache(maxsize=8)
def calibration_of(generator: MaskGenerator, truncation: float) -> dict[int, Calibration]:
    """The calibration of masks drawn at a truncation: a function of the generator's parameters alone."""
    key = stream(jax.random.key(0), "calibration")
    maps = sample_maps(generator, key, np.arange(CALIBRATION_MASKS), truncation)
    return calibrate(maps, generator.size, generator.objects or {})


def _chunks(
    generator: MaskGenerator, key: Key, indices: Indices, truncation: float, of_maps: Callable[[Array], Array]
) -> Iterator[np.ndarray]:
    """`of_maps` of the images' maps, in parts of up to `chunk_size`; AT_A_TIME parts are on the device."""
    wanted = np.asarray(indices, np.uint32)
    if not len(wanted):
        raise ValueError("no indices given")
    size = chunk_size(generator.synthesis.resolution)
    networks = generator.mapping, generator.synthesis, generator.params, generator.w_avg, generator.alpha

    def started() -> Iterator[tuple[int, Array]]:
        for start in range(0, len(wanted), size):
            part = wanted[start : start + size]
            filled = np.pad(part, (0, size - len(part)), mode="edge")  # so that every chunk has the compiled size
            yield len(part), of_maps(_maps(*networks, key, filled, jnp.float32(truncation)))

    for count, made in overlapped(started(), AT_A_TIME):
        yield np.asarray(made)[:count]


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
