"""Networks for use alone: a folder of a few megabytes, made from a run, from which sets are generated.

    config.yaml            the run's settings, without its paths
    masks.npz              stage 1: running mean of the weights, w_avg
    translation.npz        stage 2: what `translate` reads
    manifest.json          kind, pixel spacing, small objects, the checkpoints they are from, SHA-256 of the files

Matrices are float16, vectors and scalars float32.  The networks are these rounded ones: a set made from them is not
the run's set.
"""

import io
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.config import Config
from tsgan_jax.config.reading import dump_config
from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256, read_object, write_bytes, write_sealed
from tsgan_jax.nn.weight_files import read_npz

KIND = "packed networks"
MANIFEST = "manifest.json"
CONFIG = "config.yaml"


def shipped(name: str) -> Path:
    """The folder of networks that come with the package; UserError for a name that none has."""
    folder = Path(str(resources.files("tsgan_jax") / "networks"))
    names = sorted(path.name for path in folder.iterdir() if is_packed(path)) if folder.is_dir() else []
    if name not in names:
        raise UserError(f"no network is called {name!r}; there are {', '.join(names) or 'none'}")
    return folder / name


def folder_of(run: str) -> Path:
    """A run directory or packed folder, or the one of a network that comes with the package, by its name; UserError."""
    return Path(run) if Path(run).is_dir() else shipped(run)


def is_packed(folder: Path) -> bool:
    """Whether a folder holds packed networks, damaged or not."""
    return (folder / MANIFEST).is_file() and (folder / CONFIG).is_file()


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest; UserError if it is damaged."""
    manifest = read_object(folder / MANIFEST, sha256=dict, parents=dict, pixel_mm=float)
    if manifest.get("kind") != KIND:
        raise UserError(f"{folder / MANIFEST}: is not the manifest of packed networks; get the folder again")
    return manifest


def write(out: Path, config: Config, parts: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write networks to a new folder; UserError if it has files.

    parts: stage to its tree of arrays; facts: further entries of the manifest.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: has files; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    for stage, tree in parts.items():
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: _small(leaf) for name, leaf in _named(tree).items()}
        np.savez_compressed(buffer, **arrays)
        write_bytes(out / f"{stage}.npz", buffer.getvalue())
    write_bytes(out / CONFIG, dump_config(without_paths(config)).encode())
    files = [CONFIG, *(f"{stage}.npz" for stage in parts)]
    hashes = {name: file_sha256(out / name) for name in files}
    write_sealed(out / MANIFEST, {"kind": KIND, **facts, "sha256": hashes})


def read(folder: Path, stage: str, shapes: Any) -> Any:
    """A stage's tree of arrays, of the `shapes` given; UserError for a file that is damaged, missing or of others."""
    path = folder / f"{stage}.npz"
    if not path.is_file():
        raise UserError(f"{path}: missing; get the folder again")
    if file_sha256(path) != manifest_of(folder)["sha256"].get(path.name):
        raise UserError(f"{path}: changed since it was written; get the folder again")
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); get the folder again") from None

    def filled(place: jax.tree_util.KeyPath, wanted: Any) -> Any:
        name = jax.tree_util.keystr(place)
        found = arrays.get(name)
        if _is_key(wanted):
            return jax.random.key(0)
        if found is None or found.shape != wanted.shape:
            held = "nothing" if found is None else f"shape {found.shape}"
            raise UserError(f"{path}: holds {name} as {held}, its config asks for shape {wanted.shape}")
        return jnp.asarray(found, wanted.dtype)

    return jax.tree_util.tree_map_with_path(filled, shapes)


def without_paths(config: Config) -> Config:
    """A config that names no place of this machine."""
    data = config.data.model_copy(update={"root": None, "prepared": type(config.data)().prepared})
    masks = config.masks.model_copy(update={"start_from": None})
    has_vgg = getattr(config.translation, "vgg_weights", None) is not None
    no_paths = {"start_from": None, **({"vgg_weights": None} if has_vgg else {})}
    translation = config.translation.model_copy(update=no_paths)
    evaluation = config.evaluation.model_copy(update={"vgg_weights": None, "inception_weights": None})
    sections = {"data": data, "masks": masks, "translation": translation, "evaluation": evaluation}
    return config.model_copy(update=sections)


def _named(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(place): leaf for place, leaf in leaves if not _is_key(leaf)}


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _small(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    return array.astype(np.float16) if array.ndim > 1 and array.dtype == np.float32 else array
