"""GauGAN: its networks' shapes and PyTorch peers, what it refuses, its losses and one step (FACTS 4; T16)."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from phantom_pairs import phantom_batch
from resuming import arrays_saved, resumed, same_bits
from test_dl_pix2pix import random_vgg
from torch_peers import run_peer
from translator_methods import CONFIGS, SIZE

from tsgan_jax import losses
from tsgan_jax.config import GauGANConfig
from tsgan_jax.errors import UserError
from tsgan_jax.nn import spectral_norm
from tsgan_jax.nn.layers import xavier
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.gaugan_networks import BLOCKS, Generator, MultiscaleCritic, StyleEncoder, halved
from tsgan_jax.translation.registry import translator

PEER = Path(__file__).parents[1] / "torch_peers" / "gaugan.py"
CONFIG = CONFIGS["gaugan"]


def maps(generator: Generator, side: int) -> dict[str, tuple[int, ...]]:
    """Height, width and channels that each part of the generator puts out."""

    def run() -> Any:
        mask = jnp.zeros((1, side, side, 6))
        return generator.init_with_output(jax.random.key(0), mask, capture_intermediates=True)

    out, variables = jax.eval_shape(run)
    assert out.shape == (1, side, side, 1) and out.dtype == jnp.float32
    return {
        name: found["__call__"][0].shape[1:] for name, found in variables["intermediates"].items() if name[0] != "_"
    }


def test_widths_and_sizes_at_512() -> None:
    config = GauGANConfig()
    shapes = maps(Generator(config.num_ups, config.generator_width, config.spade_width), config.resolution)
    assert shapes.pop("__call__", None) is None
    assert shapes == {
        "start": (16, 16, 1024),
        "head": (16, 16, 1024),
        "middle0": (32, 32, 1024),
        "middle1": (32, 32, 1024),
        "up0": (64, 64, 512),
        "up1": (128, 128, 256),
        "up2": (256, 256, 128),
        "up3": (512, 512, 64),
        "image": (512, 512, 1),
    }


@pytest.mark.parametrize("num_ups", range(2, 8))
def test_every_number_of_doublings_ends_at_full_size(num_ups: int) -> None:
    shapes = maps(Generator(num_ups, width=4, spade_width=2), 256)
    sides = [shapes[name][0] for name in BLOCKS if name in shapes]
    assert shapes["start"] == (256 >> num_ups, 256 >> num_ups, 64)
    assert sides == sorted(sides)
    assert ("up4" in shapes) == (num_ups == 7)
    assert {4: shapes["middle0"][0] == sides[0], 6: shapes["middle1"][0] == 2 * shapes["middle0"][0]}.get(num_ups, True)


def test_the_critics_outputs_have_two_sizes() -> None:
    critic = MultiscaleCritic()
    outputs, variables = jax.eval_shape(lambda: critic.init_with_output(jax.random.key(0), jnp.zeros((2, 512, 512, 7))))
    expected = [
        [(257, 64), (129, 128), (65, 256), (66, 512), (67, 1)],
        [(129, 64), (65, 128), (33, 256), (34, 512), (35, 1)],
    ]
    assert [[y.shape[1::2] for y in scale] for scale in outputs] == expected
    names = {"/".join(path[-2:]) for path in flatten_dict(variables["params"])}
    assert names == {
        "conv0/kernel",
        "conv0/bias",
        "logits/kernel",
        "logits/bias",
        *(f"conv{i}/kernel" for i in (1, 2, 3)),
    }
    assert critic.spectral == ("conv1", "conv2", "conv3")


def test_halving_is_a_mean_over_the_pixels_inside() -> None:
    x = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype(np.float32)
    made = np.asarray(halved(jnp.asarray(x)))
    assert made.shape == (2, 3, 4, 3)
    for row, col in np.ndindex(3, 4):
        window = x[:, max(0, 2 * row - 1) : 2 * row + 2, max(0, 2 * col - 1) : 2 * col + 2]
        np.testing.assert_allclose(made[:, row, col], window.mean((1, 2)), atol=1e-6)


@functools.cache
def weights(network: str) -> tuple[nn.Module, np.ndarray, dict, dict]:
    """A small network with random weights that do not hide errors, its input, and its vectors."""
    rng = np.random.default_rng(1)
    mask = jax.nn.one_hot(rng.integers(0, 6, (2, 64, 64)), 6)
    ct = rng.uniform(-1, 1, (2, 64, 64, 1))
    module, x = {
        "generator": (Generator(num_ups=5, width=4, spade_width=5), mask),
        "critic": (MultiscaleCritic(width=4), np.concatenate([mask, ct], -1)),
        "encoder": (StyleEncoder(width=4, z_dim=3), ct),
    }[network]
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.asarray(x, jnp.float32))["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.2, leaf.shape), jnp.float32), shapes)
    return (
        module,
        np.asarray(x, np.float32),
        params,
        jax.jit(spectral_norm.start, static_argnums=1)(params, module.spectral),
    )


@pytest.mark.parametrize("network", ["generator", "critic", "encoder"])
def test_equals_its_pytorch_peer(network: str) -> None:
    module, x, params, vectors = weights(network)

    def run(params: Any, vectors: Any, x: jax.Array) -> jax.Array:
        out = module.apply({"params": spectral_norm.normalised(params, vectors)}, x)
        return jnp.concatenate([jnp.ravel(y) for y in jax.tree.leaves(out)])

    arrays = {f"w.{name}": leaf for name, leaf in flatten_dict(params, sep=".").items()}
    arrays |= {f"u.{name}": leaf for name, leaf in flatten_dict(vectors, sep=".").items()}
    theirs = run_peer(PEER, {"x": x, **arrays}, network)
    ours = jax.jit(run)(params, vectors, x)
    assert float(jnp.std(ours)) > 0.05
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_every_convolution_of_a_block_is_normalised_and_no_other() -> None:
    _, _, params, vectors = weights("generator")
    chosen = {path[:-1] for path in flatten_dict(vectors)}
    kernels = {path[:-1] for path in flatten_dict(params) if path[-1] == "kernel"}
    assert chosen == {path for path in kernels if len(path) == 2}
    assert len(chosen) == 2 * 7 + 4


def test_hinge_loss_by_hand() -> None:
    real = [jnp.array([2.0, 0.5]), jnp.array([-1.0])]
    fake = [jnp.array([-3.0, 0.0]), jnp.array([1.0])]
    assert float(losses.hinge_critic(real, fake)) == pytest.approx(((0.25 + 0.5) + (2.0 + 2.0)) / 2)
    assert float(losses.hinge_generator(fake)) == pytest.approx((1.5 - 1.0) / 2)


def test_feature_matching_counts_hidden_layers_and_is_0_between_equals() -> None:
    rng = np.random.default_rng(0)
    fake, real = (
        [[jnp.asarray(rng.normal(size=(1, s, s, 2))) for s in sizes] for sizes in ((4, 3), (2, 2))] for _ in "ab"
    )
    expected = sum(np.abs(f[0] - r[0]).mean() for f, r in zip(fake, real, strict=True)) / 2
    np.testing.assert_allclose(losses.feature_matching(fake, real), expected, rtol=1e-6)
    assert float(losses.feature_matching(real, real)) == 0.0
    pulls = jax.grad(lambda r: losses.feature_matching(fake, r))(real)
    assert all(not leaf.any() for leaf in jax.tree.leaves(pulls))


def test_divergence_is_that_of_sampled_normals() -> None:
    """The mean of log(p / q) over samples of p; between equals it is 0, and the mean over both images is half."""
    mean, log_variance = np.array([[0.0, 0.0], [1.0, -2.0]]), np.array([[0.0, 0.0], [0.5, -1.0]])
    x = np.random.default_rng(0).normal(mean[1], np.exp(0.5 * log_variance[1]), (400_000, 2))
    ratio = (x**2 - (x - mean[1]) ** 2 / np.exp(log_variance[1]) - log_variance[1]).sum(1) / 2
    ours = losses.divergence_from_normal(jnp.asarray(mean, jnp.float32), jnp.asarray(log_variance, jnp.float32))
    assert float(ours) == pytest.approx(ratio.mean() / 2, rel=0.01)


def test_perceptual_weights_by_layer() -> None:
    fake, real = (
        {"relu1_1": jnp.ones(3), "relu5_1": jnp.zeros(2)},
        {"relu1_1": jnp.zeros(3), "relu5_1": jnp.full(2, 4.0)},
    )
    assert float(losses.perceptual(fake, real, {"relu1_1": 1 / 32, "relu5_1": 0.5})) == pytest.approx(1 / 32 + 2.0)


def test_xavier_deviation() -> None:
    assert xavier((3, 3, 10, 6)) == pytest.approx(0.02 * np.sqrt(2 / (90 + 54)))
    assert xavier((10, 6)) == pytest.approx(0.02 * np.sqrt(2 / 16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_ups": 7, "resolution": 128}, "num_ups 7: from 128 px .* at most 6"),
        ({"critic_scales": 8}, "critic_scales 8: .* 512 px; set critic_scales to at most 7"),
        ({"perceptual": True}, "translation.perceptual=off"),
        ({"perceptual": True, "vgg_weights": "none.npz"}, "no such file"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fix(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        translator(GauGANConfig(**{"perceptual": False, **changes}))


@functools.cache
def small() -> tuple[Translator, Callable, Callable]:
    """A small method with all its parts (VGG-19: first layer, random), its init and step compiled once."""
    with tempfile.TemporaryDirectory() as folder:
        weights = random_vgg(Path(folder, "vgg.npz"))
        parts = {
            "perceptual": True,
            "perceptual_layers": ("relu1_1",),
            "vgg_weights": weights,
            "encoder": True,
            "z_dim": 4,
        }
        method = translator(CONFIG.model_copy(update=parts), images_per_epoch=8)
    return method, jax.jit(method.init), jax.jit(method.step)


def test_total_is_the_weighted_sum_of_its_logged_terms() -> None:
    method, init, step = small()
    _, log = step(init(jax.random.key(0)), phantom_batch(2, SIZE))
    expected = log["gan"] + 10.0 * log["matching"] + 10.0 * log["perceptual"] + 0.05 * log["kl"]
    np.testing.assert_allclose(log["generator_loss"], expected, rtol=1e-5)
    assert float(log["perceptual"]) > 0 and len(method.about["vgg19_sha256"]) == 64


def test_a_resumed_step_is_the_unbroken_one_and_the_checkpoint_lacks_vgg(tmp_path: Path) -> None:
    method, init, step = small()
    state, _ = step(init(jax.random.key(0)), phantom_batch(2, SIZE))
    restored = resumed(method, state, tmp_path)
    assert same_bits(restored, state)
    names = arrays_saved(tmp_path, 1)
    assert [name for name in names if "memory" in name] and not [name for name in names if "frozen" in name]
    second = phantom_batch(2, SIZE, seed=1)
    assert same_bits(step(restored, second), step(state, second))


def test_both_rates_fall_together() -> None:
    """Adam without a first moment: a first step moves a weight by its player's rate, at the most."""
    _, init, step = small()
    state = init(jax.random.key(0))
    for epoch, factor in {0: 1.0, 150: 50 / 101}.items():
        after, log = step(state.replace(images_seen=jnp.int32(8 * epoch)), phantom_batch(2, SIZE))
        assert float(log["learning_rate"]) == pytest.approx(factor * CONFIG.learning_rate, rel=1e-5)
        for player, rate in (("generator", CONFIG.learning_rate), ("critic", CONFIG.critic_learning_rate)):
            old, new = (jax.tree.leaves(getattr(s, player).params) for s in (state, after))
            moved = max(float(jnp.abs(a - b).max()) for a, b in zip(old, new, strict=True))
            assert moved == pytest.approx(factor * rate, rel=0.01), player


def test_singular_vectors_advance_once_a_step_and_are_nobodys_parameters() -> None:
    _, init, step = small()
    state = init(jax.random.key(0))
    after, _ = step(state, phantom_batch(2, SIZE))
    for player in ("generator", "critic"):
        expected = jax.jit(spectral_norm.iterate)(getattr(state, player).params, state.memory[player])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.memory[player], expected)
        assert {path[-1] for path in flatten_dict(getattr(state, player).params)} == {"kernel", "bias"}


def test_with_the_encoder_a_key_is_a_style_and_the_encoder_learns() -> None:
    method, init, step = small()
    state, batch = init(jax.random.key(0)), phantom_batch(2, SIZE)
    after, _ = step(state, batch)
    before, now = (state.generator.params["encoder"] for state in (state, after))
    assert all((before[name]["kernel"] != now[name]["kernel"]).any() for name in ("down0", "mean", "log_variance"))
    masks, keys = batch.mask[jnp.array([0, 0, 1])], jax.random.split(jax.random.key(0), 3)
    translate = jax.jit(method.translate)
    images = translate(after, masks, keys)
    assert float(jnp.abs(images[0] - images[1]).max()) > 0  # one mask, two keys
    again = translate(after, masks[::-1], keys[::-1])
    np.testing.assert_allclose(again[::-1], images, atol=1e-5)
