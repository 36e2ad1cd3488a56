"""Exported networks of tsgan_jax: needs jax and numpy alone.

from load import load, noise
z, mask_key, ct_key = noise(seed=0, indices=range(4))
mask, ct = load("pairs")(z, mask_key, ct_key)        # uint8 labels, float32 HU
"""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

HERE = Path(__file__).resolve().parent


def load(name: str, folder: Path = HERE) -> Callable[..., Any]:
    """A function of about.json (masks, ct, pairs) for batches of any size; compiled once for each size."""
    about = json.loads((folder / "about.json").read_text())
    one = about["functions"][name]
    code = (folder / one["file"]).read_bytes()
    if hashlib.sha256(code).hexdigest() != one["sha256"]:
        raise SystemExit(f"{folder / one['file']}: changed since it was written; export it again")
    (n,) = export.symbolic_shape("n")
    given, made = (
        [jax.ShapeDtypeStruct((n, *array["shape"][1:]), array["dtype"]) for array in one[side]]
        for side in ("inputs", "outputs")
    )

    def like(*arrays: Any) -> list[Any]:  # has the same inputs and outputs; its code is replaced
        return [jnp.zeros((arrays[0].shape[0], *a.shape[1:]), a.dtype) for a in made]

    frame = export.export(jax.jit(like, keep_unused=True), platforms=about["platforms"])(*given)
    version = about["calling_convention_version"]
    call = dataclasses.replace(frame, mlir_module_serialized=code, calling_convention_version=version).call
    return jax.jit(lambda *arrays: call(*arrays) if len(made) > 1 else call(*arrays)[0])


def noise(seed: int, indices: Sequence[int], attempt: int = 0, folder: Path = HERE) -> tuple[Any, Any, Any]:
    """(z, mask_key, ct_key) of images of `bin/generate --seed SEED`, at an attempt at their mask."""
    z_dim = json.loads((folder / "about.json").read_text())["z_dim"]

    def stream(key: Any, name: str) -> Any:
        return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)

    def one(index: Any) -> tuple[Any, Any, Any]:
        root = jax.random.key(seed, impl="threefry2x32")
        own = jax.random.fold_in(jax.random.fold_in(stream(root, "masks"), attempt), index)
        keys = stream(own, "noise"), jax.random.fold_in(stream(root, "ct"), index)
        mask_key, ct_key = (jax.random.key_data(key) for key in keys)
        return jax.random.normal(stream(own, "latent"), (z_dim,)), mask_key, ct_key

    return jax.jit(jax.vmap(one))(jnp.asarray(indices, jnp.uint32))
