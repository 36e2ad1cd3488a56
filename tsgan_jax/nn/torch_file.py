"""PyTorch's files of tensors, read without PyTorch and without running anything that a file says.

Both formats hold a pickle that refers to storages, flat arrays of one type:

    zip (since PyTorch 1.6)   NAME/data.pkl, and one uncompressed entry NAME/data/KEY a storage
    earlier                   five pickles in a row (a magic number, a version, facts of the writer, the object, a list
                              of keys), then for each key an int64 count and the values

The unpickler knows the few names that a state dict needs; any other name ends the reading.
"""

import io
import mmap
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

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
MOST_PICKLE_BYTES = 1 << 26
"""Of the object alone, without its storages: far above any state dict's."""


@dataclass(frozen=True)
class _Storage:
    """A storage before its values are known."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides count values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, values: np.ndarray) -> np.ndarray:
        """The tensor, copied from its storage's values [count]."""
        if len(self.shape) != len(self.strides) or min((self.offset, *self.shape, *self.strides)) < 0:
            raise ValueError(f"a tensor has shape {self.shape}, strides {self.strides} and offset {self.offset}")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if prod(self.shape) and last >= len(values):
            raise ValueError(f"a tensor of shape {self.shape} ends beyond its {len(values)} values")
        if prod(self.shape) > len(values):  # such as an expanded one: small in the file, of any size in memory
            raise ValueError(f"a tensor of shape {self.shape} has more values than its storage, {len(values)}")
        steps = tuple(step * values.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps).copy()


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, or of the entry `state_dict` of a dict, by name; other entries are left out.

    Raises ValueError for a file that is neither format or holds anything but tensors and plain values, OSError and
    zipfile.BadZipFile for one that cannot be read.  Of flipped bits only the zip format, which has checksums, knows.
    """
    damage = (pickle.UnpicklingError, EOFError, struct.error, AttributeError, LookupError, TypeError, AssertionError)
    try:
        with path.open("rb") as file:
            state, values = (_of_zip if zipfile.is_zipfile(path) else _of_pickles)(file)
    except damage as error:
        raise ValueError(f"no PyTorch state dict: {str(error) or type(error).__name__}") from None
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping):
        raise ValueError(f"no PyTorch state dict: it holds a {type(state).__name__}")
    tensors = {str(name): tensor for name, tensor in state.items() if isinstance(tensor, _Tensor)}
    return {name: tensor.array(values(tensor.storage)) for name, tensor in tensors.items()}


_Values = Callable[[_Storage], np.ndarray]
"""The values of a storage."""


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
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != storage.count * storage.dtype.itemsize:
                raise ValueError(f"{info.filename} is not the {storage.count} values that the file announces")
            loaded[storage.key] = np.frombuffer(archive.read(info), storage.dtype)
    return state, lambda storage: loaded[storage.key]


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
        data = file.read(storage.count * storage.dtype.itemsize)
        if count != storage.count or len(data) != storage.count * storage.dtype.itemsize:
            raise ValueError(f"storage {key} is not the {storage.count} values that the file announces")
        loaded[key] = np.frombuffer(data, storage.dtype)
    return state, lambda storage: loaded[storage.key]


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
        if storage.count < 0:
            raise pickle.UnpicklingError(f"storage {key} has {count} values")
        return self.storages.setdefault(storage.key, storage)


def _tensor(storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *rest: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor has no storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
