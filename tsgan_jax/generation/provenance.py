"""Provenance of artefacts: hashes of arrays, versions of software, settings."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL

import tsgan_jax
from tsgan_jax.config import Config


def fingerprint(tree: Any) -> str:
    """SHA-256 (first 32 hex digits) of a pytree of arrays: paths, types, shapes and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        values = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape};".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()[:32]


def versions() -> dict[str, str]:
    """Versions of software and the device; a change may alter the last bits of a network's output."""
    return {
        "tsgan_jax": tsgan_jax.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "device": jax.devices()[0].device_kind,
    }


def decisive_settings(config: Config) -> dict[str, Any]:
    """The settings that decide the networks, without paths and save intervals."""
    tree = config.model_dump(mode="json")
    chosen = {name: tree[name] for name in ("seed", "precision", "data", "masks", "translation")}
    for section, place in (("data", "root"), ("data", "prepared"), ("translation", "vgg_weights")):
        chosen[section].pop(place, None)
    return chosen
