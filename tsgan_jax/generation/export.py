"""Networks for use without this package: noise to mask, mask to CT and both, as StableHLO with the weights inside.

    masks.stablehlo, ct.stablehlo, pairs.stablehlo     portable StableHLO bytecode
    about.json                                         inputs, outputs, labels, units, parents, SHA-256 of the files
    load.py                                            runs them with jax alone (exported.py)

The batch is symbolic.  Masks are as stage 1 draws them: the gate that a set's masks pass is not part of the functions.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.errors import UserError
from tsgan_jax.files import write_bytes, write_json
from tsgan_jax.generation import exported
from tsgan_jax.generation.runs import TrainedRun, versions
from tsgan_jax.labels import NAMES
from tsgan_jax.masks.sample import MaskGenerator, decoder, maps_of
from tsgan_jax.types import Array

KIND = "exported networks"


Arrays = dict[str, tuple[str, tuple[int, ...], str]]
"""Name of an array to (type, shape of one example, meaning)."""


@dataclass(frozen=True)
class Exportable:
    """A function of batches, and what its arrays are."""

    function: Callable[..., Any]
    inputs: Arrays
    outputs: Arrays


def exportables(trained: TrainedRun, truncation: float | None = None) -> dict[str, Exportable]:
    """The functions of a run: masks, ct and pairs; ct alone where its masks are not drawn by stage 1.

    truncation: None for the run's `generation.truncation`.  Fixed, because the calibration depends on it.
    """
    generator, side = trained.generator, trained.config.translation.resolution
    low, high = trained.config.data.hu_window
    mask: Arrays = {"mask": ("uint8", (side, side), "the class of each pixel, see labels")}
    made: Arrays = {"ct": ("float32", (side, side), "HU, within hu_window")}
    ct_key: Arrays = {"ct_key": ("uint32", (2,), "a threefry key of the CT's noise; any two numbers")}

    def ct(mask: Array, ct_key: Array) -> Array:
        unit = trained.translator.translate(trained.translator_state, mask, _keys(ct_key))
        return (unit.astype(jnp.float32) + 1.0) * ((high - low) / 2.0) + low

    functions = {"ct": Exportable(ct, mask | ct_key, made)}
    if generator is None:
        return functions
    masks = mask_function(trained, generator, truncation)

    def pairs(z: Array, mask_key: Array, ct_key: Array) -> tuple[Array, Array]:
        drawn = masks(z, mask_key)
        return drawn, ct(drawn, ct_key)

    drawn_from: Arrays = {
        "z": ("float32", (generator.mapping.z_dim,), "N(0, 1)"),
        "mask_key": ("uint32", (2,), "a threefry key of the layers' noise; any two numbers"),
    }
    functions["masks"] = Exportable(masks, drawn_from, mask)
    functions["pairs"] = Exportable(pairs, drawn_from | ct_key, mask | made)
    return functions


def mask_function(
    trained: TrainedRun, generator: MaskGenerator, truncation: float | None
) -> Callable[[Array, Array], Array]:
    """(z [n, z_dim], mask_key uint32 [n, 2]) to masks uint8 [n, h, w], calibrated where the run's masks are."""
    psi = trained.config.generation.truncation if truncation is None else truncation
    decode = decoder(generator, psi)

    def masks(z: Array, mask_key: Array) -> Array:
        networks = generator.mapping, generator.synthesis
        weights = generator.params, generator.w_avg, generator.alpha
        return decode(maps_of(*networks, *weights, z, _keys(mask_key), psi))

    return masks


def _keys(data: Array) -> Array:
    return jax.random.wrap_key_data(data, impl="threefry2x32")


def export_networks(
    trained: TrainedRun,
    out: Path,
    platforms: Sequence[str],
    truncation: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the functions of a run to a new folder; returns what about.json holds.

    platforms: cpu, cuda, rocm or tpu; each file runs on all of them.
    Raises UserError if `out` has files, or for a truncation where stage 1 draws no masks.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: has files; choose a new folder")
    generator, config = trained.generator, trained.config
    if truncation is not None and generator is None:
        raise UserError(f"truncation applies only to masks of stage 1; generation.masks is {config.generation.masks}")
    functions, version = {}, 0
    (n,) = jax.export.symbolic_shape("n")
    out.mkdir(parents=True, exist_ok=True)
    for name, each in exportables(trained, truncation).items():
        say(f"{name}: lowering for {', '.join(platforms)}")
        shapes = [jax.ShapeDtypeStruct((n, *shape), np.dtype(dtype)) for dtype, shape, _ in each.inputs.values()]
        one = jax.export.export(jax.jit(each.function, keep_unused=True), platforms=platforms)(*shapes)
        code, version = one.mlir_module_serialized, one.calling_convention_version
        write_bytes(out / f"{name}.stablehlo", code)
        functions[name] = {
            "file": f"{name}.stablehlo",
            "sha256": hashlib.sha256(code).hexdigest(),
            "inputs": _described(each.inputs),
            "outputs": _described(each.outputs),
        }
    facts: dict[str, Any] = {}
    if generator is not None:
        psi = config.generation.truncation if truncation is None else truncation
        calibrated = generator.objects is not None
        facts = {"z_dim": generator.mapping.z_dim, "truncation": psi, "calibrated": calibrated}
    about = {
        "kind": KIND,
        "platforms": list(platforms),
        "calling_convention_version": version,
        "functions": functions,
        "labels": dict(enumerate(NAMES)),
        "pixel_mm": trained.pixel_mm,
        "hu_window": list(config.data.hu_window),
        **facts,
        "method": config.translation.method,
        "parents": trained.source["parents"],
        "config_sha256": trained.source["config_sha256"],
        "versions": versions(),
    }
    write_bytes(out / "load.py", Path(exported.__file__).read_bytes())
    write_json(out / "about.json", about, indent=1)
    return about


def _described(arrays: Arrays) -> list[dict[str, Any]]:
    return [
        {"name": name, "dtype": dtype, "shape": ["n", *shape], "meaning": meaning}
        for name, (dtype, shape, meaning) in arrays.items()
    ]
