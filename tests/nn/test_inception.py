"""Inception-v3 of FID: the graph against a plain one, against PyTorch where it is there, and its weight files."""

import hashlib
import os
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.nn import loops, plain_inception
from tsgan_jax.errors import UserError
from tsgan_jax.nn import inception

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = (os.environ.get("TSGAN_BENCH_PYTHON"), str(ROOT / ".venv-bench" / "bin" / "python"))


def random_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under pytorch-fid's names that keep activations of order one."""
    rng, state = np.random.default_rng(seed), {}
    for name, shape in inception.layers().items():
        state[f"{name}.conv.weight"] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        state[f"{name}.bn.weight"] = rng.uniform(0.5, 1.5, shape[0]).astype(np.float32)
        state[f"{name}.bn.bias"] = rng.normal(0, 0.2, shape[0]).astype(np.float32)
        state[f"{name}.bn.running_mean"] = rng.normal(0, 0.2, shape[0]).astype(np.float32)
        state[f"{name}.bn.running_var"] = rng.uniform(0.5, 2, shape[0]).astype(np.float32)
    return state


def texture(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    walk = np.random.default_rng(seed).normal(0, 12, (n, height, width)).cumsum(1)
    return (walk + 128).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return random_state()


@pytest.fixture(scope="module")
def found(state: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(jax.jit(inception.features)(inception.folded(state), texture(2, 96, 80)))


@pytest.mark.slow
def test_features_equal_the_plain_graph(state: dict[str, np.ndarray], found: np.ndarray) -> None:
    for image, features in zip(np.asarray(inception.preprocess(jnp.asarray(texture(2, 96, 80)))), found, strict=True):
        expected = plain_inception.features(state, np.repeat(image.transpose(2, 0, 1), 3, axis=0))
        assert features.shape == expected.shape == (2048,)
        np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_features_equal_pytorch(state: dict[str, np.ndarray], found: np.ndarray, tmp_path: Path) -> None:
    """Resize, network and pooling in PyTorch, by an interpreter that has it."""
    peer = next((peer for peer in PEERS if peer and Path(peer).is_file()), None)
    if peer is None:
        pytest.skip("no Python with torch: set TSGAN_BENCH_PYTHON, or run bin/bench once")
    np.savez(tmp_path / "in.npz", images=texture(2, 96, 80), **state)
    script = ROOT / "benchmarks" / "torch_inception.py"
    subprocess.run([peer, script, tmp_path / "in.npz", tmp_path / "out.npy"], check=True, timeout=300)
    expected = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(40, 64), (512, 320)])
def test_images_are_resized_as_in_pytorch(shape: tuple[int, int]) -> None:
    image = texture(1, *shape)
    expected = 2 * loops.bilinear(image[0, ..., None] / 255.0, 299, 299) - 1
    np.testing.assert_allclose(inception.preprocess(jnp.asarray(image))[0], expected, atol=1e-5)


def test_pools_leave_the_padding_out() -> None:
    x = np.random.default_rng(0).normal(size=(1, 5, 7, 2)).astype(np.float32)
    channels = x[0].transpose(2, 0, 1)
    for ours, kind in ((inception.average_pool(x), "mean"), (inception.max_pool(x, 1, 1), "max")):
        expected = plain_inception.pool(channels, kind, padding=1)
        np.testing.assert_allclose(ours[0].transpose(2, 0, 1), expected, rtol=1e-5, atol=1e-6)


def test_layers_are_those_of_the_file() -> None:
    layers = inception.layers()
    assert len(layers) == 94
    assert layers["Conv2d_1a_3x3"] == (32, 3, 3, 3)
    assert layers["Mixed_6b.branch7x7_2"] == (128, 128, 1, 7)
    assert layers["Mixed_7c.branch3x3dbl_3b"] == (384, 384, 3, 1)
    assert sum(np.prod(shape) for shape in layers.values()) == 21_751_136


def test_npz_is_read(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "inception.npz"
    np.savez(path, **state)
    loaded = inception.load_inception(path)
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and loaded.file == path.name
    assert not loaded.published  # a file that is not pytorch-fid's own has no FID
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.params, inception.folded(state)))


def test_only_the_published_file_gives_the_fid() -> None:
    assert inception.Inception({}, "6726825d" + "0" * 56, "any name").published
    assert not inception.Inception({}, "0" * 64, "pt_inception-2015-12-05-6726825d.pth").published


def test_faulty_files_are_named(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    def load(name: str, **changed: np.ndarray | None) -> None:
        arrays = {key: value for key, value in (state | changed).items() if value is not None}
        np.savez(tmp_path / name, **arrays)
        inception.load_inception(tmp_path / name)

    first = "Conv2d_1a_3x3"
    with pytest.raises(UserError, match=f"short.npz: lacks {first}.bn.weight"):
        load("short.npz", **{f"{first}.bn.weight": None})
    with pytest.raises(UserError, match=f"{first}.conv.weight has shape"):
        load("hwio.npz", **{f"{first}.conv.weight": state[f"{first}.conv.weight"].transpose(2, 3, 1, 0)})
    with pytest.raises(UserError, match="not finite"):
        load("nan.npz", **{f"{first}.bn.bias": np.full(32, np.nan, np.float32)})
    with pytest.raises(UserError, match="torchvision's Inception, which does not give FID"):
        load("vision.npz", **{"fc.bias": np.zeros(1000, np.float32)})


def test_files_that_are_no_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file; set evaluation.inception_weights"):
        inception.load_inception(tmp_path / "none.pth")
    with pytest.raises(UserError, match="must be one of"):
        inception.load_inception(tmp_path / "weights.onnx")
    (tmp_path / "torn.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="torn.npz: cannot be read"):
        inception.load_inception(tmp_path / "torn.npz")
    (tmp_path / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"half a download")
    with pytest.raises(UserError, match="not with 6726825d as its name says"):
        inception.load_inception(tmp_path / "pt_inception-2015-12-05-6726825d.pth")
