"""Files of published weights: their hash, and reading that runs nothing of what a file says.

PyTorch's files are read without PyTorch.  Both of its formats hold a pickle that refers to storages, flat arrays of one
type:

    zip (since PyTorch 1.6)   NAME/data.pkl, and one uncompressed entry NAME/data/KEY a storage
    earlier                   five pickles in a row (a magic number, a version, facts of the writer, the object, a list
                              of keys), then for each key an int64 count and the values

The unpickler knows the few names that a state dict needs; any other name ends the reading.
"""

import io
import mmap
import pickle
import re
import struct
import tokenize
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import ml_dtypes
import numpy as np

from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256

T = TypeVar("T")

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the earlier format."""

TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
MOST_NPZ_BYTES = 1 << 30
"""Ten times the largest network's."""
MOST_PICKLE_BYTES = 1 << 26
"""Of the object alone, without its storages: far above any state dict's."""


def read_weights(path: Path, network: str, readers: Mapping[str, Callable[[Path], T]], instead: str) -> tuple[T, str]:
    """What the reader for the file's suffix returns, and the file's SHA-256.

    instead: the fix if there is no such file.  Raises UserError for a file that is missing or cannot be read, has
    another suffix, or another hash than FILE.sha256 next to it (of `sha256sum FILE`) or a name ...-XXXXXXXX.pth, as
    torch uses, say.
    """
    if path.suffix not in readers:
        known = ", ".join(readers)
        raise UserError(f"{path}: {network} weights must be one of {known}, not {path.suffix or 'no suffix'!r}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; {instead}")
    digest = file_sha256(path)
    beside = path.with_name(f"{path.name}.sha256")
    if beside.is_file() and digest not in beside.read_text(errors="replace")[:1000].lower():
        raise UserError(f"{path}: is not the file that {beside.name} has the SHA-256 of; fetch it again")
    named = re.fullmatch(r".*-([0-9a-f]{8,64})\.pth", path.name)
    if named and not digest.startswith(named[1]):
        raise UserError(
            f"{path}: its SHA-256 begins with {digest[:8]}, not with {named[1]} as its name says; fetch it again"
        )
    try:
        return readers[path.suffix](path), digest
    except (OSError, ValueError, RuntimeError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as {network} weights ({error}); fetch the file again") from error


def checked(source: Path | str, network: str, name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array; UserError, which names its file, unless it has the network's shape and finite values."""
    if array.shape != shape:
        raise UserError(f"{source}: {name} has shape {array.shape}, {network} has {shape}")
    if not np.isfinite(array).all():
        raise UserError(f"{source}: {name} has values that are not finite; fetch the file again")
    return array


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name.

    Raises OSError or ValueError for a file that is damaged, holds other objects, or is too large once unpacked.
    """
    archive_s = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)  # the last: encrypted
    array_s = (SyntaxError, tokenize.TokenError, LookupError, TypeError, OverflowError, MemoryError)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if (unpacked := sum(info.file_size for info in infos)) > MOST_NPZ_BYTES:
                raise ValueError(f"it has {unpacked} bytes when it is unpacked")
            return {
                info.filename[: -len(".npy")]: np.lib.format.read_array(io.BytesIO(archive.read(info)))
                for info in infos
            }
    except (*archive_s, *array_s) as error:
        raise ValueError(f"no .npz file: {str(error) or type(error).__name__}") from None


def read_torch(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, or of the entry `state_dict` of a dict, by name; other entries are left out.

    Raises ValueError for a file that is neither format or holds anything but tensors and plain values, OSError and
    zipfile.BadZipFile for one that cannot be read.  Of flipped bits only the zip format, which has checksums, knows.
    """
    damage = (pickle.UnpicklingError, EOFError, struct.error, AttributeError, LookupError, TypeError, AssertionError)
    try:
        with path.open("rb") as file:
            state, loaded = (_of_zip if zipfile.is_zipfile(path) else _of_pickles)(file)
        state = state.get("state_dict", state) if isinstance(state, Mapping) else state
        if not isinstance(state, Mapping):
            raise ValueError(f"no PyTorch state dict: it holds a {type(state).__name__}")
        return {str(name): _array(part, loaded) for name, part in state.items() if isinstance(part, _Tensor)}
    except damage as error:
        raise ValueError(f"no PyTorch state dict: {str(error) or type(error).__name__}") from None


class _Storage(NamedTuple):
    """A storage before its values are known."""

    key: str
    dtype: np.dtype
    size: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_Values = dict[str, np.ndarray]
"""The values of each storage, by its key."""


def _array(tensor: _Tensor, loaded: _Values) -> np.ndarray:
    values, shape, offset = loaded[tensor.storage.key], tensor.shape, tensor.offset
    if len(shape) != len(tensor.strides) or min((offset, *shape, *tensor.strides)) < 0:
        raise ValueError(f"a tensor has shape {shape}, strides {tensor.strides} and offset {offset}")
    last = offset + sum((n - 1) * step for n, step in zip(shape, tensor.strides, strict=True))
    if prod(shape) and last >= len(values):
        raise ValueError(f"a tensor of shape {shape} ends beyond its {len(values)} values")
    if prod(shape) > len(values):  # such as an expanded one: small in the file, of any size in memory
        raise ValueError(f"a tensor of shape {shape} has more values than its storage, {len(values)}")
    steps = tuple(step * values.itemsize for step in tensor.strides)
    return np.lib.stride_tricks.as_strided(values[offset:], shape, steps).copy()


def _of_zip(file: BinaryIO) -> tuple[Any, _Values]:
    with zipfile.ZipFile(file) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        pickled = next((name for name in infos if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise ValueError("no PyTorch file: the archive has no data.pkl")
        folder = pickled[: -len("data.pkl")]
        if infos.get(f"{folder}byteorder") and archive.read(f"{folder}byteorder").strip() == b"big":
            raise ValueError("the file was written on a big-endian machine")
        if infos[pickled].file_size > MOST_PICKLE_BYTES:
            raise ValueError(f"{pickled} has {infos[pickled].file_size} bytes")
        unpickler = _Unpickler(io.BytesIO(archive.read(pickled)))
        state = unpickler.load()
        loaded = {}
        for storage in unpickler.storages.values():
            info = infos[f"{folder}data/{storage.key}"]
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != storage.size * storage.dtype.itemsize:
                raise ValueError(f"{info.filename} is not the {storage.size} values that the file announces")
            loaded[storage.key] = np.frombuffer(archive.read(info), storage.dtype)
    return state, loaded


def _of_pickles(whole: BinaryIO) -> tuple[Any, _Values]:
    file = mmap.mmap(whole.fileno(), 0, access=mmap.ACCESS_READ)  # a read beyond its end allocates nothing
    if _Unpickler(file).load() != MAGIC:
        raise ValueError("no PyTorch file: neither a zip archive nor the earlier format")
    for _ in ("version", "facts of the writer"):
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    state = unpickler.load()
    loaded = {}
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        data = file.read(storage.size * storage.dtype.itemsize)
        if count != storage.size or len(data) != storage.size * storage.dtype.itemsize:
            raise ValueError(f"storage {key} is not the {storage.size} values that the file announces")
        loaded[key] = np.frombuffer(data, storage.dtype)
    return state, loaded


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Makes tensors, storages, dicts and plain values; refuses every other name.

    Python's own unpickler, not C's: there a wrong index in five bytes of a file takes gigabytes of memory.
    """

    def __init__(self, file: mmap.mmap | io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The meaning of a name in the pickle."""
        if module == "torch" and name in TYPES:
            return TYPES[name]
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *rest: tensor,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which weights do not need")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage."""
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype) or (len(pid) > 5 and pid[5] is not None):
            raise pickle.UnpicklingError(f"it refers to {pid!r:.80}")
        storage = _Storage(str(key), dtype, int(count))
        if storage.size < 0:
            raise pickle.UnpicklingError(f"storage {key} has {count} values")
        return self.storages.setdefault(storage.key, storage)


def _tensor(storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *rest: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor has no storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
