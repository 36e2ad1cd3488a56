"""DL-Pix2Pix: its generator's shape, what it refuses, its losses, and one step pinned (T12, T13, T15; A7, A8)."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.flatten_util import ravel_pytree
from phantom_pairs import phantom_batch
from resuming import arrays_saved, resumed, same_bits
from torch_peers import run_peer
from translator_methods import CONFIGS, SIZE

from tsgan_jax.config import DLPix2PixConfig, Pix2PixConfig
from tsgan_jax.errors import UserError
from tsgan_jax.nn import vgg
from tsgan_jax.translation.api import Translator
from tsgan_jax.translation.dl_pix2pix import Generator, noisy_levels
from tsgan_jax.translation.registry import translator

PEER = Path(__file__).parents[1] / "torch_peers" / "dl_pix2pix.py"
GOLDEN = Path(__file__).parents[1] / "golden" / "dl_pix2pix_step.json"
CONFIG = CONFIGS["dl_pix2pix"]


def abstract_params(generator: Generator, size: int) -> dict:
    mask = jax.ShapeDtypeStruct((1, size, size, 6), jnp.float32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    out, variables = jax.eval_shape(generator.init_with_output, jax.random.key(0), mask, keys)
    assert out.shape == (1, size, size, 1) and out.dtype == jnp.float32
    return variables["params"]


def test_widths_and_parts_at_512() -> None:
    config = DLPix2PixConfig()
    assert config.depth == 6  # an 8x8 bottleneck
    params = abstract_params(Generator(depth=config.depth), 512)
    assert [params[f"down{i}"]["kernel"].shape[-1] for i in range(6)] == [64, 128, 256, 512, 512, 512]
    assert [params[f"up{i}"]["kernel"].shape[-2:] for i in range(6)] == [
        (128, 1),
        (256, 64),
        (512, 128),
        (1024, 256),
        (1024, 512),
        (512, 512),
    ]
    # LIA on all five skips, of 256 to 16 px; no norm on the first and last down convolution, no bias before a norm.
    assert {name for name in params if name.startswith("lia")} == {f"lia{i}" for i in range(5)}
    assert {name for name in params if name.endswith("norm")} == {
        *(f"down{i}_norm" for i in range(1, 5)),
        *(f"up{i}_norm" for i in range(1, 6)),
    }
    assert {name for name, p in params.items() if "bias" in p and "kernel" in p} == {"up0"}
    assert params["dwmh"]["head_weights"].shape == (8,)


def test_plain_pix2pix_has_neither_lia_nor_dwmh() -> None:
    config = Pix2PixConfig(num_downs=8, resolution=256)
    params = abstract_params(Generator(depth=config.depth, lia=config.lia, dwmh=config.dwmh), 256)
    assert not any(name.startswith(("lia", "dwmh")) for name in params)
    assert (config.l1_weight, config.perceptual) == (100.0, False)


def test_every_depth_keeps_a_source_of_noise() -> None:
    assert {depth: noisy_levels(depth) for depth in range(2, 10)} == {
        2: (1,),
        3: (2,),
        4: (3,),
        5: (4,),
        6: (4,),
        7: (4, 5),
        8: (4, 5, 6),
        9: (4, 5, 6, 7),
    }


@pytest.mark.parametrize(
    ("depth", "lia", "dwmh", "window"),
    [
        pytest.param(6, False, False, 4, id="plain-1px-bottleneck"),
        pytest.param(4, False, False, 4, id="plain"),
        pytest.param(4, True, False, 4, id="lia"),
        pytest.param(4, False, True, 2, id="dwmh"),
        pytest.param(4, True, True, 2, id="lia-dwmh"),
        pytest.param(3, True, True, 3, id="lia-dwmh-remainder"),
    ],
)
def test_the_generator_is_that_of_pytorch(depth: int, lia: bool, dwmh: bool, window: int) -> None:
    """Random weights that do not hide errors, without dropout; window 3 leaves 2 of the bottleneck's 8 px over."""
    generator = Generator(depth, width=4, lia=lia, lia_width=5, dwmh=dwmh, heads=4, window=window, dropout=0.0)
    rng = np.random.default_rng(depth)
    mask = np.eye(6, dtype=np.float32)[rng.integers(0, 6, (2, 64, 64))]
    drawn = {
        path: rng.normal(path[-1] in ("scale", "gamma", "head_weights"), 0.2, leaf.shape)
        for path, leaf in sorted(flatten_dict(abstract_params(generator, 64)).items())
    }
    params = {path: np.asarray(leaf, np.float32) for path, leaf in drawn.items()}
    weights = {f"generator.{'.'.join(path)}": leaf for path, leaf in params.items()}
    theirs = run_peer(PEER, {"mask": mask, **weights}, "4", str(window))
    keys = jax.random.split(jax.random.key(0), 2)
    ours = jax.jit(generator.apply)({"params": unflatten_dict(params)}, mask, keys)
    assert theirs.std() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def make(**changes: object) -> None:
    translator(DLPix2PixConfig(**{"resolution": 512, "perceptual": False, **changes}))


@pytest.mark.parametrize("num_downs", [5, 6, 7])
def test_depths_that_fit_512(num_downs: int) -> None:
    make(num_downs=num_downs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_downs": 8}, r"num_downs 8 at 512 px leaves a bottleneck of 2 px.*set num_downs to 5 or 6 or 7"),
        ({"num_downs": 9}, "num_downs 9 at 512 px leaves a bottleneck of 1 px"),
        ({"num_downs": 4}, "num_downs 4 at 512 px leaves a bottleneck of 32 px"),
        ({"num_downs": 4, "resolution": 8, "critic_layers": 1}, "can be halved 3 times"),
        ({"resolution": 8, "critic_layers": 1}, "larger data.resolution"),
        ({"num_downs": 9, "lia": False}, "window of 2 px up to the bottleneck's 1 px"),
        ({"window": 16}, "translation.window 16"),
        ({"window": 1}, "translation.window 1"),
        ({"heads": 7}, "heads 7 does not divide the bottleneck's 512 channels"),
        ({"perceptual": True}, "translation.perceptual=off"),
        ({"critic_layers": 8}, "leaves no patch"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fix(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_missing_or_shallow_vgg_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        make(perceptual=True, vgg_weights=tmp_path / "vgg.npz")
    with pytest.raises(UserError, match="lacks conv1_2"):
        make(perceptual=True, vgg_weights=random_vgg(tmp_path / "vgg.npz"))


def random_vgg(path: Path) -> Path:
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(0, 0.2, (3, 3, 3, 64)), rng.normal(0, 1, 64)
    np.savez(path, **{"block1_conv1/kernel": kernel, "block1_conv1/bias": bias})
    return path


@functools.cache
def small(precision: str = "float32") -> tuple[Translator, Callable, Callable]:
    """A small method with all its parts (VGG-19: first layer, random), its init and step compiled once."""
    with tempfile.TemporaryDirectory() as folder:
        weights = random_vgg(Path(folder, "vgg.npz"))
        perceptual = {"perceptual": True, "perceptual_layers": ("relu1_1",), "vgg_weights": weights}
        method = translator(CONFIG.model_copy(update={**perceptual, "precision": precision}), images_per_epoch=8)
    return method, jax.jit(method.init), jax.jit(method.step)


def test_total_is_the_weighted_sum_of_its_logged_terms(tmp_path: Path) -> None:
    """Eq. 8; and VGG-19 stays as it was."""
    method, init, step = small()
    state = init(jax.random.key(0))
    after, log = step(state, phantom_batch(2, SIZE))
    expected = log["gan"] + 200.0 * log["l1"] + 10.0 * log["perceptual"]
    np.testing.assert_allclose(log["generator_loss"], expected, rtol=1e-6)
    assert method.about["vgg19"] == "vgg.npz (caffe)" and len(method.about["vgg19_sha256"]) == 64
    loaded = vgg.load_vgg19(random_vgg(tmp_path / "vgg.npz"), ["relu1_1"])
    for part in ("kernel", "bias"):
        np.testing.assert_array_equal(after.frozen["conv1_1"][part], loaded.params["conv1_1"][part])


def test_a_resumed_step_is_the_unbroken_one_and_the_checkpoint_lacks_vgg(tmp_path: Path) -> None:
    method, init, step = small()
    state, _ = step(init(jax.random.key(0)), phantom_batch(2, SIZE))
    restored = resumed(method, state, tmp_path)
    assert same_bits(restored, state)
    assert not [name for name in arrays_saved(tmp_path, 1) if "frozen" in name]
    second = phantom_batch(2, SIZE, seed=1)
    assert same_bits(step(restored, second), step(state, second))


def test_the_rate_follows_the_images_seen() -> None:
    _, init, step = small()
    state, batch = init(jax.random.key(0)), phantom_batch(2, SIZE)
    for epoch, factor in {0: 1.0, 99: 1.0, 100: 100 / 101, 199: 1 / 101}.items():
        for image in (0, 7):
            _, log = step(state.replace(images_seen=jnp.int32(8 * epoch + image)), batch)
            assert float(log["learning_rate"]) == pytest.approx(factor * CONFIG.learning_rate, rel=1e-5)


@pytest.mark.slow
def test_bfloat16_keeps_parameters_and_losses_in_float32() -> None:
    (_, init, exact), (_, _, rounded) = small(), small("bfloat16")
    state, batch = init(jax.random.key(0)), phantom_batch(2, SIZE)
    (after, log), (_, exact_log) = rounded(state, batch), exact(state, batch)
    weights = jax.tree.leaves((after.generator.params, after.critic.params))
    assert {leaf.dtype for leaf in weights} == {jnp.dtype("float32")}
    for name in ("critic_loss", "gan", "l1", "perceptual"):
        assert log[name].dtype == jnp.float32
        np.testing.assert_allclose(log[name], exact_log[name], rtol=0.03)


def test_one_step_is_the_step_it_was() -> None:
    """Golden: two steps on a phantom batch, on the CPU.

    If this fails and you meant to change the method (network, loss, order of updates, initialisation,
    keys), look at the new figures, say in the commit what changed them, and write them with
    `python tests/translation/test_dl_pix2pix.py`.  If you did not mean to, the change altered training.
    """
    if jax.default_backend() != "cpu":
        pytest.skip("the golden figures are those of a CPU")
    golden = json.loads(GOLDEN.read_text())
    for step, (measured, expected) in enumerate(zip(golden_steps(), golden, strict=True)):
        assert measured.keys() == expected.keys()
        for name, value in expected.items():
            assert measured[name] == pytest.approx(value, rel=2e-3, abs=1e-5), f"step {step}: {name}"


def golden_steps() -> list[dict[str, float]]:
    """Metrics of two steps, and the mean absolute change of each player's weights."""
    _, init, step = small()
    state, logs = init(jax.random.key(0)), []
    for i in range(2):
        after, metrics = step(state, phantom_batch(2, SIZE, seed=i))
        log = {name: float(value) for name, value in metrics.items()}
        for player in ("generator", "critic"):
            old, new = (ravel_pytree(getattr(s, player).params)[0] for s in (state, after))
            log[f"{player}_moved"] = float(jnp.abs(new - old).mean())
        logs.append(log)
        state = after
    return logs


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden_steps(), indent=2) + "\n")
