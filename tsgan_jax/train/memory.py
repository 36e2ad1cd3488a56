"""Memory: what a step needs, estimated without compiling it, and what the compiler leaves behind."""

import ctypes
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


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
