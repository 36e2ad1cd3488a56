"""Writes state dicts in both of PyTorch's file formats, without PyTorch: it is not installed where tests run."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import numpy as np

STORAGES = {
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "|u1": "ByteStorage",
}


@contextmanager
def pretended_torch():
    """Modules that give pickle the names it writes."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*arguments):
        raise AssertionError("only its name is used")

    rebuild.__name__ = rebuild.__qualname__ = "_rebuild_tensor_v2"
    rebuild.__module__ = "torch._utils"
    utils._rebuild_tensor_v2 = rebuild
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        yield torch, rebuild
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Storage:
    """A flat array under a key."""

    def __init__(self, key, values):
        self.key, self.values = key, np.ascontiguousarray(values).ravel()


class Tensor:
    """A view of a storage; shape and strides in values."""

    def __init__(self, storage, offset, shape, strides, rebuild):
        self.call = rebuild, (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return self.call


class _Pickler(pickle.Pickler):
    def __init__(self, file, torch, legacy):
        super().__init__(file, protocol=2)
        self.torch, self.legacy = torch, legacy

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        kind = getattr(self.torch, STORAGES[thing.values.dtype.str])
        view = (None,) if self.legacy else ()
        return ("storage", kind, thing.key, "cpu", thing.values.size, *view)


def write(path: Path, arrays, *, legacy=False, extra=None, views=None, compression=zipfile.ZIP_STORED) -> Path:
    """arrays: name -> array; extra: other entries; views: name -> (array, offset, shape, strides)."""
    views = {name: (a, 0, a.shape, tuple(s // a.itemsize for s in a.strides)) for name, a in arrays.items()} | (
        views or {}
    )
    with pretended_torch() as (torch, rebuild):
        storages = {name: Storage(str(i), view[0]) for i, (name, view) in enumerate(views.items())}
        state = OrderedDict((name, Tensor(storages[name], *view[1:], rebuild)) for name, view in views.items())
        state.update(extra or {})
        buffer = io.BytesIO()
        _Pickler(buffer, torch, legacy).dump(state)
    if legacy:
        heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        parts = [*(pickle.dumps(head, 2) for head in heads), buffer.getvalue()]
        parts.append(pickle.dumps([s.key for s in storages.values()], 2))
        parts += [struct.pack("<q", s.values.size) + s.values.tobytes() for s in storages.values()]
        path.write_bytes(b"".join(parts))
        return path
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/byteorder", "little")
        for storage in storages.values():
            archive.writestr(f"archive/data/{storage.key}", storage.values.tobytes())
    return path
