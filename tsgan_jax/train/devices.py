"""Devices: the mesh of a step, the memory it needs, and the cache of compiled programs.

One code path for one device and for many, of one process or several (processes.py): a mesh with the axis `data`, state
replicated, batches split.  Batch statistics inside a step are those of the global batch, so results do not depend on
the device count.
"""

import ctypes
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.stages import Compiled

from tsgan_jax.errors import UserError
from tsgan_jax.train import processes

T = TypeVar("T")


def data_mesh(batch_size: int) -> Mesh:
    """A mesh of the largest number of devices that divides the batch; the others are idle.

    Of several processes all devices are in it: UserError for a batch that they cannot share evenly.
    The axis is Auto: under 0.10's default, Explicit, reshapes of a split axis (minibatch groups, windows) fail.
    """
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if processes.count() > 1 and count < len(devices):
        raise UserError(
            f"a batch of {batch_size} cannot be shared by {len(devices)} devices of {processes.count()} processes; "
            f"choose masks.batch_size and translation.batch_size as multiples of {len(devices)}"
        )
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of a state: replicated on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Sharding of a batch: its first axis divided over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays of the host on the mesh.  Every process gives the whole arrays, and keeps the parts of its devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def placed(leaf: Any) -> jax.Array:
        whole = np.asarray(leaf)
        return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])

    return jax.tree.map(placed, tree)


def place(state: Any, mesh: Mesh) -> Any:
    """A copy of a state on the mesh in which no two leaves share a buffer, as a donated step requires."""
    if replicated(mesh).is_fully_addressable:
        return jax.device_put(state, replicated(mesh), may_alias=False)
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=replicated(mesh))(state)


def overlapped(started: Iterable[T], count: int) -> Iterator[T]:
    """The items in order, each when `count` are started: work that the device does while the host goes on."""
    running: deque[T] = deque()
    for one in started:
        running.append(one)
        if len(running) == count:
            yield running.popleft()
    yield from running


def keep_compiled() -> None:
    """Keep compiled programs in the user's cache, so that later and resumed runs do not compile again.

    The folder's name depends on the CPU's features: programs of another CPU may not run, and home folders are shared.
    A folder that the user has set for JAX is kept.
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


CPU_BUDGET = 2**30
"""Bytes for the programs of a batch on a CPU, whose memory is everybody's."""


def on_cpu() -> bool:
    """Whether programs run on the CPU."""
    return jax.default_backend() == "cpu"


def free_bytes() -> int:
    """Bytes free on the fullest device, less a tenth for what an analysis does not count; CPU_BUDGET on a CPU."""
    known = [stats for device in jax.local_devices() if (stats := device.memory_stats()) and "bytes_limit" in stats]
    return min((9 * (each["bytes_limit"] - each["bytes_in_use"]) // 10 for each in known), default=CPU_BUDGET)


def needed_bytes(program: Compiled, runs: int = 1) -> int:
    """Bytes that a compiled program needs on each device: arguments, results, and what lies between.

    runs: of it at a time; they share their arguments.
    """
    uses: Any = program.memory_analysis()
    return int(uses.argument_size_in_bytes + runs * (uses.output_size_in_bytes + uses.temp_size_in_bytes))


def return_freed_memory() -> None:
    """Return freed heap memory to the system if the C library supports it; it keeps about 1 GB after a compilation."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_bytes(function: Callable[..., Any], *arguments: Any) -> int:
    """Peak bytes of live values while `function` runs, if each operation writes its result to memory.

    arguments: arrays or their shapes.  Fused elementwise operations need less, and workspaces of
    convolutions need more.
    """
    return _peak(jax.make_jaxpr(function)(*arguments).jaxpr)


def _peak(jaxpr: Jaxpr) -> int:
    """Peak of the operations in order; a value is freed after its last use.  An inner program adds its peak."""
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
    """Inner programs of an operation: jit, custom derivatives, control flow."""
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
