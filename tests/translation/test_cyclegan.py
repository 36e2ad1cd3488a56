"""CycleGAN: its sizes, its step against PyTorch, and what its settings switch (FACTS 3)."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from phantom_pairs import phantom_batch
from torch_peers import run_peer
from translator_methods import BATCH, CONFIGS, SIZE

from tsgan_jax.config import CycleGANConfig
from tsgan_jax.errors import UserError
from tsgan_jax.labels import NUM_CLASSES
from tsgan_jax.translation.cyclegan import scalar
from tsgan_jax.translation.registry import translator

PEER = Path(__file__).parents[1] / "torch_peers" / "cyclegan.py"
CONFIG = CONFIGS["cyclegan"].model_copy(update={"residual_blocks": 2, "generator_width": 4, "critic_width": 4})
TERMS = (
    *("gan_ct", "gan_mask", "cycle_ct", "cycle_mask", "identity_ct", "identity_mask", "generator_loss"),
    *("critic_ct", "critic_mask", "critic_loss", "generator_gradient", "critic_gradient"),
)


def named_weights(player: str, params: Any) -> dict[str, np.ndarray]:
    """As the peers read them: <player>.<side>.<layer>.kernel, the residual blocks numbered."""
    named = {}
    for name, array in flatten_dict(params, sep=".").items():
        each = {name.replace(".blocks.", f".block{i}."): one for i, one in enumerate(array)}
        named |= each if ".blocks." in name else {name: array}
    return {f"{player}.{name}": np.asarray(array) for name, array in named.items()}


def enlarged(params: Any) -> Any:
    """Weights of a few tenths instead of .02, and biases that are not 0, so that every layer shows."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(9), len(leaves))
    drawn = [0.2 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, drawn)


def metrics_of(config: CycleGANConfig) -> tuple[Any, set[str]]:
    """The state's shapes and the names of the metrics."""
    method = translator(config)
    state = jax.eval_shape(method.init, jax.random.key(0))
    after, metrics = jax.eval_shape(method.step, state, phantom_batch(BATCH, SIZE))
    return after, set(metrics)


def test_the_mask_is_one_channel_as_grey_as_its_ct() -> None:
    codes = jnp.arange(NUM_CLASSES, dtype=jnp.uint8).reshape(1, 2, 3)
    image = scalar(codes)
    assert image.shape == (1, 2, 3, 1) and image.dtype == jnp.float32
    background, body, left, right, trachea, nodule = np.asarray(image).ravel()
    greys = [background, trachea, left, right, nodule, body]  # from the thinnest tissue to the densest
    assert np.diff(greys).min() > 0.09  # no two classes alike: the way back has to tell them apart
    hu = (np.array(greys) + 1) / 2 * 1400 - 1000
    np.testing.assert_allclose(hu, [-1000, -937, -850, -850, -230, -15], atol=70)  # medians of real slices


def test_as_many_parameters_as_published() -> None:
    """Published, from 3 channels to 3: 11,378,179 and 2,764,737, of which 5,248 and 896 are biases before norms."""
    state = jax.eval_shape(translator(CycleGANConfig(resolution=256)).init, jax.random.key(0))
    for player, published, biases, per_channel, two_ended in (
        (state.generator, 11_378_179, 5_248, 49 * 64, True),
        (state.critic, 2_764_737, 896, 16 * 64, False),
    ):
        ends = 2 * per_channel * (2 if two_ended else 1) + (2 if two_ended else 0)
        for params in player.params.values():
            assert sum(leaf.size for leaf in jax.tree.leaves(params)) == published - biases - ends
    assert state.generator.params["ct"]["encoder"]["blocks"]["conv1"]["kernel"].shape == (9, 3, 3, 256, 256)
    assert {side: pool.images.shape for side, pool in state.memory.items()} == {
        "ct": (50, 256, 256, 1),
        "mask": (50, 256, 256, 1),
    }


def test_a_step_and_the_generator_are_those_of_pytorch() -> None:
    """Weights carried over: the image to 1e-4; every loss and both gradients' norms of a first step."""
    method, batch = translator(CONFIG), phantom_batch(BATCH, SIZE)
    state = jax.jit(method.init)(jax.random.key(0))
    generator, critic = (p.replace(params=enlarged(p.params)) for p in (state.generator, state.critic))
    state = state.replace(generator=generator, critic=critic)
    given = {"ct": np.asarray(batch.ct), "mask": np.asarray(scalar(batch.mask))}
    given |= named_weights("generator", generator.params) | named_weights("critic", critic.params)

    image = run_peer(PEER, given, "generator")[..., 0]
    ours = jax.jit(method.translate)(state, batch.mask, jax.random.split(jax.random.key(0), BATCH))
    assert np.abs(image).max() > 0.5
    np.testing.assert_allclose(ours, image, atol=1e-4)

    after, metrics = jax.jit(method.step)(state, batch)
    expected = dict(zip(TERMS, run_peer(PEER, given, "losses"), strict=True))
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-3, err_msg=name)
    assert [int(pool.count) for pool in after.memory.values()] == [BATCH, BATCH]
    np.testing.assert_allclose(after.memory["ct"].images[:BATCH, ..., 0], ours, atol=1e-5)


def test_without_identity_loss_or_pools_there_is_nothing_of_them() -> None:
    _, names = metrics_of(CONFIG)
    assert set(TERMS) | {"learning_rate"} == names
    _, names = metrics_of(CONFIG.model_copy(update={"identity_weight": 0.0}))
    assert not any(name.startswith("identity") for name in names)
    state, _ = metrics_of(CONFIG.model_copy(update={"pool_size": 0}))
    assert state.memory is None


def test_in_bfloat16_weights_pools_and_metrics_are_float32() -> None:
    method = translator(CONFIG.model_copy(update={"precision": "bfloat16"}))
    state = jax.eval_shape(method.init, jax.random.key(0))
    after, metrics = jax.eval_shape(method.step, state, phantom_batch(BATCH, SIZE))
    kept = jax.tree.leaves(
        (after.generator.params, after.critic.params, metrics, [p.images for p in after.memory.values()])
    )
    assert {leaf.dtype for leaf in kept} == {jnp.dtype("float32")}


@pytest.mark.parametrize("method", ["cyclegan", "attentiongan"])
def test_masks_and_ct_need_not_belong_together(method: str) -> None:
    assert not translator(CONFIGS[method]).paired


def test_a_critic_without_a_patch_is_refused() -> None:
    with pytest.raises(UserError, match="critic_layers 4 leaves no patch at 32 px"):
        translator(CONFIG.model_copy(update={"critic_layers": 4}))
