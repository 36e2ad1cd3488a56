"""The choice of feature network, its batches, and what it is called."""

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.networks_of_numpy import noise
from tests.nn.test_vgg import loop_features, random_weights, write_npz
from tsgan_jax.config import EvaluationConfig
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation import networks
from tsgan_jax.nn import inception


def vgg_settings(layer: str = "relu2_1") -> EvaluationConfig:
    return EvaluationConfig(features="vgg19", vgg_layer=layer)


def test_vgg_features_are_means_of_the_map_whatever_the_batch(tmp_path: Path) -> None:
    weights, said = random_weights(), []
    network = networks.load(vgg_settings(), write_npz(tmp_path / "vgg.npz", weights), said.append)
    assert network.label == "VGG19 relu2_1" and network.dim == 128 and not network.is_fid
    assert "vgg.npz" in said[0] and network.sha256 in said[0]
    assert network.names[0] == "FD-VGG19 relu2_1"
    images = noise(35, 6)
    found = network.features(images)
    assert found.shape == (35, 128) and found.dtype == np.float32
    for place in (0, 31, 34):  # 32 make a batch
        expected = loop_features(images[place] / 127.5 - 1, weights, "caffe")["relu2_1"].mean((0, 1)) / 57.6
        np.testing.assert_allclose(found[place], expected, rtol=1e-3, atol=1e-3)


def test_missing_files_say_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation.inception_weights is not set.*or set evaluation.features=vgg19"):
        networks.load(EvaluationConfig(), None)
    with pytest.raises(UserError, match=r"none.pth: no such file"):
        networks.load(EvaluationConfig(inception_weights=tmp_path / "none.pth"), None)
    with pytest.raises(UserError, match=r"needs evaluation.vgg_weights"):
        networks.load(vgg_settings(), None)
    path = write_npz(tmp_path / "vgg.npz", random_weights((1, 2)))
    with pytest.raises(UserError, match="up to conv1_2"):
        networks.load(vgg_settings(), path)


def test_only_the_published_weights_are_called_fid() -> None:
    published = networks.of_inception(inception.Inception({}, "6726825d" + "0" * 56, "a.pth"))
    other = networks.of_inception(inception.Inception({}, "12345678" + "0" * 56, "b.npz"))
    assert published.names[:2] == ("FID", "KID") and other.names[0] == "FD-Inception[12345678]"
    assert networks.wanted_names(EvaluationConfig())[0] == "FID"
    assert networks.wanted_names(vgg_settings("relu3_4"))[1] == "KD-VGG19 relu3_4"


def test_images_of_another_kind_are_refused() -> None:
    network = networks.of_inception(inception.Inception({}, "0" * 64, "b.npz"))
    with pytest.raises(ValueError, match="expected uint8"):
        network.features(np.zeros((2, 8, 8)))
