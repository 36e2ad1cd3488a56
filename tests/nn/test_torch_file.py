"""PyTorch's files are read without PyTorch, and nothing in them is run."""

import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.nn import torch_files
from tsgan_jax.nn.weight_files import read_torch as read

SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights" / "yolov5n_state_dict_fp32.pt"
ARRAYS = {
    "features.0.weight": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("<f4"),
    "half": np.arange(6, dtype="<f2").reshape(2, 3),
    "count": np.array(7, "<i8"),
}


@pytest.mark.parametrize("legacy", [False, True])
def test_arrays_come_back_by_name(tmp_path, legacy):
    found = read(torch_files.write(tmp_path / "a.pth", ARRAYS, legacy=legacy, extra={"epoch": 3, "note": "text"}))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_views_of_a_storage(tmp_path):
    base = np.arange(12, dtype="<f4")
    path = torch_files.write(tmp_path / "a.pth", {}, views={"t": (base, 2, (3, 2), (1, 4))})
    np.testing.assert_array_equal(read(path)["t"], base[2:10].reshape(2, 4).T[:3])


@pytest.mark.parametrize(
    "view", [(2, (12,), (1,)), (0, (4, 4), (4, 1)), (0, (1 << 40,), (0,)), (-1, (2,), (1,)), (0, (2,), (-1,))], ids=str
)
def test_views_beyond_their_storage_are_refused(tmp_path, view):
    path = torch_files.write(tmp_path / "a.pth", {}, views={"t": (np.zeros(12, "<f4"), *view)})
    with pytest.raises(ValueError, match="a tensor"):
        read(path)


class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_refused_and_not_run(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    path = torch_files.write(tmp_path / "a.pth", ARRAYS, legacy=legacy, extra={"x": Attack()})
    with pytest.raises(ValueError, match="system, which weights do not need"):
        read(path)
    assert not Path("attacked").exists()


def test_compressed_storages_are_refused(tmp_path):
    """A few bytes could hold terabytes of zeros."""
    path = torch_files.write(tmp_path / "a.pth", ARRAYS, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="not the .* values that the file announces"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1]), b"PK\x03\x04", b"\x80\x02."], ids=repr)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        read(tmp_path / "a.pth")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), legacy=st.booleans())
def test_damage_gives_an_error_of_the_file_or_arrays(tmp_path, data, legacy):
    """Flipped, cut and inserted bytes: no other exception, no endless reading.  In a zip a flipped value is noticed."""
    content = bytearray(torch_files.write(tmp_path / "a.pth", ARRAYS, legacy=legacy).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                content[place] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del content[place : place + data.draw(st.integers(1, 40))]
            case "insert":
                content[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    (tmp_path / "b.pth").write_bytes(bytes(content))
    try:
        found = read(tmp_path / "b.pth")
    except (ValueError, OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


@pytest.mark.skipif(not SHARED.is_file(), reason="no file that PyTorch wrote lies beside the project")
def test_a_file_that_pytorch_wrote():
    found = read(SHARED)
    assert len(found) > 300 and found["model.0.conv.weight"].shape == (16, 3, 6, 6)
    assert all(np.isfinite(array).all() for array in found.values())


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_an_installed_pytorch(tmp_path, zipped):
    python = os.environ.get("TSGAN_TORCH_PYTHON")
    if not python:
        pytest.skip("no Python with torch: set TSGAN_TORCH_PYTHON")
    script = (
        "import torch; torch.manual_seed(0); a = torch.randn(3, 4); "
        "state = {'a': a, 't': a.t(), 'p': torch.nn.Parameter(a[1:]), 'h': a.bfloat16(), 'n': 1}; "
        f"torch.save(state, 'a.pth', _use_new_zipfile_serialization={zipped}); "
        "import numpy; numpy.savez('a.npz', **{k: v.detach().float().numpy() for k, v in state.items() if k != 'n'})"
    )
    subprocess.run([python, "-c", script], check=True, cwd=tmp_path)
    found, wanted = read(tmp_path / "a.pth"), np.load(tmp_path / "a.npz")
    assert set(found) == set(wanted.files)
    for name in found:
        np.testing.assert_array_equal(found[name].astype(np.float32), wanted[name])
