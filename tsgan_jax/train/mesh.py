"""One code path for one device and for many: a mesh with the axis `data`, state replicated, batches split.

Batch statistics inside a step are those of the global batch, so results do not depend on the device count.
"""

from collections.abc import Sequence
from typing import Any

import jax
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
