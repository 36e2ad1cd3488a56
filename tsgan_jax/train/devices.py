"""Devices: the mesh of a step, the memory it needs, and the cache of compiled programs.

One code path for one device and for many: a mesh with the axis `data`, state replicated, batches split.  Batch
statistics inside a step are those of the global batch, so results do not depend on the device count.
"""

import ctypes
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh(batch_size: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The largest number of `devices` (default: all) that share a batch evenly; the others stay idle.

    The axis is Auto: under 0.10's default, Explicit, reshapes of a split axis (minibatch groups, windows) fail.
    """
    devices = list(jax.devices() if devices is None else devices)
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """Where a state lives: whole, on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Where a batch lives: its first axis divided over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def place(state: Any, mesh: Mesh) -> Any:
    """A copy of a state on the mesh, no two of its leaves sharing a buffer (a donated step refuses that)."""
    return jax.device_put(state, replicated(mesh), may_alias=False)


def keep_compiled() -> None:
    """Keep compiled programs in the user's cache: a resumed run, or the next one, does not compile again.

    The folder is named after the CPU's features: programs of another CPU may not run here, and homes are shared.
    A folder that the user has set for JAX stays.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(cache / "tsgan_jax" / "xla" / _cpu()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(features.encode()).hexdigest()[:8]


def return_freed_memory() -> None:
    """Give freed heap back to the system, where the C library can: it keeps the gigabyte that a compilation used."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_bytes(function: Callable[..., Any], *arguments: Any) -> int:
    """Most bytes alive at once while `function` runs, were each operation to write its result to memory.

    arguments: arrays or their shapes.  Compilers fuse elementwise operations and need less; convolutions want
    workspace and need more.
    """
    return _peak(jax.make_jaxpr(function)(*arguments).jaxpr)


def _peak(jaxpr: Jaxpr) -> int:
    """Walk the operations in order; a value dies after its last use.  An inner program adds its own peak."""
    last_use = {
        variable: place
        for place, equation in enumerate(jaxpr.eqns)
        for variable in equation.invars
        if not isinstance(variable, Literal)
    }
    kept = {variable for variable in jaxpr.outvars if not isinstance(variable, Literal)}
    alive = {variable: _bytes(variable) for variable in (*jaxpr.invars, *jaxpr.constvars)}
    total = most = sum(alive.values())
    for place, equation in enumerate(jaxpr.eqns):
        inputs = {variable for variable in equation.invars if not isinstance(variable, Literal)}
        inside = max((_peak(inner) - sum(map(_bytes, inner.invars)) for inner in _inner(equation)), default=0)
        outputs = {variable: _bytes(variable) for variable in equation.outvars}
        most = max(most, total + max(sum(outputs.values()), inside))
        alive |= outputs
        total += sum(outputs.values())
        for variable in inputs | outputs.keys():
            if variable not in kept and last_use.get(variable, place) <= place and variable in alive:
                total -= alive.pop(variable)
    return most


def _inner(equation: Any) -> list[Jaxpr]:
    """Programs that an operation runs: of jit, custom derivatives, control flow."""
    found: list[Jaxpr] = []
    for value in equation.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, ClosedJaxpr):
                found.append(one.jaxpr)
            elif isinstance(one, Jaxpr):
                found.append(one)
    return found


def _bytes(variable: Any) -> int:
    shape = variable.aval
    return int(shape.size) * shape.dtype.itemsize if hasattr(shape, "dtype") else 0
