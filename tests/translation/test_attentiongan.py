"""AttentionGAN: what its attention adds up to (T17), and its generator against PyTorch (FACTS 5)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from phantom_pairs import phantom_batch
from test_cyclegan import enlarged, named_weights
from torch_peers import run_peer

from tsgan_jax.config import AttentionGANConfig
from tsgan_jax.translation.attentiongan import Generator
from tsgan_jax.translation.cyclegan import scalar
from tsgan_jax.translation.registry import translator

PEER = Path(__file__).parents[1] / "torch_peers" / "attentiongan.py"
GENERATOR = Generator(contents=3, width=4, blocks=2)
IMAGE = scalar(phantom_batch(2, 32).mask)
PARAMS = enlarged(jax.jit(GENERATOR.init)(jax.random.key(0), IMAGE)["params"])


def test_attention_sums_to_1_in_each_pixel() -> None:
    images, attention = jax.jit(lambda params: GENERATOR.apply({"params": params}, IMAGE, method="layers"))(PARAMS)
    assert images.shape == attention.shape == (2, 32, 32, 4)
    assert float(attention.min()) >= 0 and float(attention.std()) > 0.01
    np.testing.assert_allclose(attention.sum(-1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(images[..., 3:], IMAGE)
    assert float(jnp.abs(images).max()) <= 1


def test_where_the_last_map_is_1_the_output_is_the_input() -> None:
    last = {"kernel": jnp.zeros_like(PARAMS["attention"]["kernel"]), "bias": jnp.array([0.0, 0.0, 0.0, 200.0])}
    kept = GENERATOR.apply({"params": {**PARAMS, "attention": last}}, IMAGE)
    np.testing.assert_array_equal(kept, IMAGE)


def test_the_generator_is_that_of_pytorch() -> None:
    ours = jax.jit(GENERATOR.apply)({"params": PARAMS}, IMAGE)
    theirs = run_peer(PEER, {"mask": np.asarray(IMAGE), **named_weights("generator", {"ct": PARAMS})})
    assert np.abs(theirs - np.asarray(IMAGE)).max() > 0.2
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_nine_images_and_ten_maps_as_published() -> None:
    params = jax.eval_shape(translator(AttentionGANConfig(resolution=256)).init, jax.random.key(0)).generator.params
    for network in params.values():
        assert network["content"]["kernel"].shape == (7, 7, 64, 9)
        assert network["attention"]["kernel"].shape == (1, 1, 64, 10)
