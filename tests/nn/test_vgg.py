"""VGG-19: weight layouts, arithmetic, and the perceptual loss on it (Eq. 10; T19)."""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn import loops, torch_files
from tsgan_jax import losses
from tsgan_jax.errors import UserError
from tsgan_jax.nn import vgg

Weights = dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]


def random_weights(deepest: tuple[int, int] = (2, 1)) -> Weights:
    """He-initialised kernels (HWIO) and biases of the first convolutions."""
    rng, found, channels = np.random.default_rng(0), {}, 3
    for block, conv in vgg.CONVS:
        if (block, conv) > deepest:
            break
        out = vgg.BLOCKS[block - 1][0]
        kernel = rng.normal(0, (2 / 9 / channels) ** 0.5, (3, 3, channels, out)).astype(np.float32)
        found[block, conv] = kernel, rng.normal(0, 0.1, out).astype(np.float32)
        channels = out
    return found


def write_npz(path: Path, weights: Weights) -> Path:
    arrays = {}
    for (block, conv), (kernel, bias) in weights.items():
        arrays[f"block{block}_conv{conv}/kernel"], arrays[f"block{block}_conv{conv}/bias"] = kernel, bias
    np.savez(path, **arrays)
    return path


def loop_features(x: np.ndarray, weights: Weights, kind: str) -> dict[str, np.ndarray]:
    """[h, w] in [-1, 1] -> activations, as the two publications define them, in their own units."""
    unit = np.repeat((x[..., None] + 1.0) / 2.0, 3, -1)
    if kind == "torchvision":
        y = (unit - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    else:
        y = unit * 255 - [103.939, 116.779, 123.68]
    found = {}
    for (block, conv), (kernel, bias) in weights.items():
        if conv == 1 and block > 1:
            y = y.reshape(y.shape[0] // 2, 2, y.shape[1] // 2, 2, -1).max((1, 3))
        y = np.maximum(loops.conv(y[None], kernel, 1, 1)[0] + bias, 0)
        found[f"relu{block}_{conv}"] = y
    return found


IMAGE = np.random.default_rng(5).uniform(-1, 1, (6, 8)).astype(np.float32)
LAYERS = ("relu1_1", "relu1_2", "relu2_1")


def check_against_loops(path: Path, weights: Weights, kind: str, unit: float) -> None:
    loaded = vgg.load_vgg19(path, LAYERS)
    assert loaded.kind == kind and loaded.file == path.name
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = vgg.features(loaded.params, jnp.asarray(IMAGE)[None, ..., None], LAYERS, loaded.kind)
    for layer, expected in loop_features(IMAGE, weights, kind).items():
        np.testing.assert_allclose(found[layer][0], expected / unit, rtol=1e-4, atol=1e-4)


def test_npz_in_keras_values(tmp_path: Path) -> None:
    weights = random_weights()
    check_against_loops(write_npz(tmp_path / "vgg.npz", weights), weights, "caffe", vgg.CAFFE_SCALE)


@pytest.mark.parametrize(
    ("kernel_name", "bias_name"),
    [("{0}/{0}_W_1:0", "{0}/{0}_b_1:0"), ("layers/{0}/vars/0", "layers/{0}/vars/1")],
    ids=["keras 2", "keras 3"],
)
def test_keras_h5(tmp_path: Path, kernel_name: str, bias_name: str) -> None:
    h5py = pytest.importorskip("h5py")
    weights = random_weights()
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        for (block, conv), (kernel, bias) in weights.items():
            file[kernel_name.format(f"block{block}_conv{conv}")] = kernel
            file[bias_name.format(f"block{block}_conv{conv}")] = bias
    check_against_loops(tmp_path / "vgg.h5", weights, "caffe", vgg.CAFFE_SCALE)


@pytest.mark.parametrize("legacy", [True, False])
def test_torchvision_state_dict(tmp_path: Path, legacy: bool) -> None:
    """Both of PyTorch's formats: torchvision's own file is of the earlier one."""
    weights, state = random_weights(), {}
    for index, (kernel, bias) in zip((0, 2, 5), weights.values(), strict=True):
        state[f"features.{index}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        state[f"features.{index}.bias"] = bias
    torch_files.write(tmp_path / "vgg.pth", state, legacy=legacy)
    check_against_loops(tmp_path / "vgg.pth", weights, "torchvision", 1.0)


def test_torchvision_positions_of_every_convolution() -> None:
    from_listing = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]  # FACTS 4: features[28:30] is relu5_1
    assert list(vgg.TORCH_INDEX.values()) == from_listing


def test_a_pth_that_is_none_is_refused_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be read as VGG-19 weights .*; fetch the file again"):
        vgg.load_vgg19(tmp_path / "vgg.pth", LAYERS)


def test_a_shallow_file_serves_shallow_layers_and_refuses_deeper_ones(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "vgg.npz", random_weights((1, 2)))
    assert set(vgg.load_vgg19(path, ["relu1_1"]).params) == {"conv1_1"}
    with pytest.raises(UserError, match=r"lacks conv2_1, conv2_2, conv3_1, which relu1_1, relu3_1 .*up to conv1_2"):
        vgg.load_vgg19(path, ["relu1_1", "relu3_1"])


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    weights = random_weights((1, 1))
    with pytest.raises(UserError, match="no such file"):
        vgg.load_vgg19(tmp_path / "none.npz", LAYERS)
    with pytest.raises(UserError, match="must be one of"):
        vgg.load_vgg19(tmp_path / "vgg.onnx", LAYERS)
    (tmp_path / "torn.npz").write_bytes(write_npz(tmp_path / "vgg.npz", weights).read_bytes()[:500])
    with pytest.raises(UserError, match="torn.npz: cannot be read"):
        vgg.load_vgg19(tmp_path / "torn.npz", ["relu1_1"])
    kernel, bias = weights[1, 1]
    with pytest.raises(UserError, match="conv1_1's kernel has shape"):
        vgg.load_vgg19(write_npz(tmp_path / "oihw.npz", {(1, 1): (kernel.transpose(3, 2, 0, 1), bias)}), ["relu1_1"])
    with pytest.raises(UserError, match="not finite"):
        vgg.load_vgg19(write_npz(tmp_path / "nan.npz", {(1, 1): (kernel * np.nan, bias)}), ["relu1_1"])
    with pytest.raises(UserError, match="no layer 'relu1_3'"):
        vgg.load_vgg19(tmp_path / "vgg.npz", ["relu1_3"])


def test_a_file_named_by_its_hash_must_have_it(tmp_path: Path) -> None:
    (tmp_path / "vgg19-dcbb9e9d.pth").write_bytes(b"half a download")
    with pytest.raises(UserError, match="not with dcbb9e9d as its name says"):
        vgg.load_vgg19(tmp_path / "vgg19-dcbb9e9d.pth", LAYERS)


def test_perceptual_loss_is_zero_for_equals_symmetric_and_pulls_the_fake_only(tmp_path: Path) -> None:
    loaded = vgg.load_vgg19(write_npz(tmp_path / "vgg.npz", random_weights()), LAYERS)
    a, b = jax.random.uniform(jax.random.key(0), (2, 2, 16, 16, 1), minval=-1, maxval=1)

    @jax.jit
    def loss(fake: jax.Array, real: jax.Array) -> jax.Array:
        return losses.perceptual(*(vgg.features(loaded.params, x, LAYERS, loaded.kind) for x in (fake, real)))

    assert loss(a, a) == 0 and loss(a, b) > 0
    np.testing.assert_allclose(loss(a, b), loss(b, a), rtol=1e-6)
    fake_grad, real_grad = jax.grad(loss, argnums=(0, 1))(a, b)
    assert (fake_grad != 0).any() and (real_grad == 0).all()


def test_real_weights_see_edges_of_real_size(shared_dir: Path) -> None:
    """The Oxford weights: a known hash, and features of order one on a chest-like image."""
    path = shared_dir / "weights" / "vgg19_imagenet_keras_conv1_1-conv3_4_hwio.npz"
    if not path.is_file():
        pytest.skip("VGG-19 weights (../shared/weights) are not beside this checkout")
    layers = ("relu1_1", "relu2_1", "relu3_1")
    loaded = vgg.load_vgg19(path, layers)
    rows, cols = jnp.mgrid[:64, :64]
    disc = jnp.where((rows - 32) ** 2 + (cols - 32) ** 2 < 400, 0.2, -1.0)
    found = vgg.features(loaded.params, disc[None, ..., None], layers, loaded.kind)
    for layer in layers:
        assert 0.05 < float(found[layer].mean()) < 20
    with pytest.raises(UserError, match="up to conv3_4"):
        vgg.load_vgg19(path, ["relu4_1"])
