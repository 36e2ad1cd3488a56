"""Checkpoints of the whole state but its frozen weights, each with a SHA-256 manifest.

Damaged ones are set aside, never loaded.

Orbax commits a step atomically and writes it in the background, but does not detect flipped bits when it loads.  A step
is therefore valid only if it has a manifest, written after the commit, and every file has the hash in the manifest.
"""

import dataclasses
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint._src.metadata.array_metadata_store import Store  # has no public name
from orbax.checkpoint.options import MultiprocessingOptions

from tsgan_jax.errors import UserError
from tsgan_jax.files import file_sha256, read_json, read_object, write_sealed
from tsgan_jax.train import processes
from tsgan_jax.train.learner import without_frozen

MANIFEST = "manifest.json"
META = Path("meta") / "metadata"  # where Orbax keeps the JSON item named meta
DAMAGED = "damaged"
SPARE = 64 << 20  # bytes to leave free in addition to a new checkpoint


@dataclass(frozen=True)
class Saved:
    """One checkpoint: its step and its metadata."""

    step: int
    meta: Mapping[str, Any]


class Checkpoints:
    """The newest `keep` checkpoints of one stage.

    say: receives one-line messages for the user.
    """

    def __init__(self, directory: Path, keep: int, say: Callable[[str], None] = print) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._keep, self._say = keep, say
        self._writer: threading.Thread | None = None
        self._failure: tuple[int, Exception] | None = None

    def save(self, state: Any, meta: Mapping[str, Any], step: int) -> bool:
        """Start to write a checkpoint in the background; False, with a message, if that is not possible now.

        Its `frozen` weights are left out.  The state may be donated as soon as this returns.  Of several processes the
        first one writes, as it has the whole state.
        """
        if not processes.is_first():
            return True
        self.wait()
        self._remove_unfinished()
        state = without_frozen(state)
        if step in self.steps():
            return True
        needed, free = size(state) + SPARE, shutil.disk_usage(self.directory).free
        if free < needed:
            self._say(
                f"checkpoint {step} not written: {free / 1e9:.1f} GB free in {self.directory}, "
                f"{needed / 1e9:.1f} GB needed; free some space, the next save tries again"
            )
            return False
        saved = ocp.args.PyTreeSave(state) if processes.count() > 1 else ocp.args.StandardSave(state)
        items = ocp.args.Composite(state=saved, meta=ocp.args.JsonSave(dict(meta)))
        writer = _writer()
        try:
            with _quiet():
                writer.save(self.directory / str(step), args=items)
        except Exception as error:  # training continues whatever the storage raises
            self._failure = (step, error)
            self.wait()
            return False
        self._writer = threading.Thread(target=self._finish, args=(writer, step, leaves_of(state)), daemon=True)
        self._writer.start()
        return True

    def poll(self) -> None:
        """Report a background save that failed; does not wait."""
        if self._writer is not None and not self._writer.is_alive():
            self.wait()

    def wait(self) -> None:
        """Wait for the save under way, if any; a failure is reported, not raised."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._failure is not None:
            (step, error), self._failure = self._failure, None
            self._say(f"checkpoint {step} not written: {_first_line(error)}; training continues, the next save retries")
            self._remove_unfinished()

    def steps(self) -> list[int]:
        """Completely written steps on disk, ascending; their content is not verified here."""
        return sorted(int(p.parent.name) for p in self.directory.glob(f"*/{MANIFEST}") if p.parent.name.isdecimal())

    def newest(self) -> Saved | None:
        """The newest valid checkpoint; damaged or incomplete later ones are moved to `damaged/`, with a message."""
        self.wait()
        return processes.in_turn(self._newest)

    def _newest(self) -> Saved | None:
        for path in sorted((p for p in self.directory.iterdir() if p.name.isdecimal()), key=lambda p: -int(p.name)):
            reason = unsound(path)
            if reason is None:
                return Saved(int(path.name), self.meta(int(path.name)))
            self._set_aside(path, reason)
        return None

    def meta(self, step: int) -> Mapping[str, Any]:
        """The metadata of one checkpoint."""
        return read_json(self.directory / str(step) / META)

    def restore(self, saved: Saved, abstract: Any) -> Any:
        """The state of a checkpoint, without `frozen` weights (`learner.with_frozen` puts them back).

        abstract: tree of jax.ShapeDtypeStruct with shardings (`abstract_like`).
        Raises UserError if the checkpoint holds another tree or other shapes.
        """
        path, wanted = self.directory / str(saved.step), without_frozen(abstract)
        if reason := differs(path, wanted, whole=True):
            raise UserError(f"{path}: {reason}; use the config it was trained with, or another --run directory")
        return read_state(path, wanted)

    def drop_after(self, step: int) -> None:
        """Delete every checkpoint later than `step`."""
        self.wait()
        processes.barrier()
        for later in self.steps() if processes.is_first() else ():
            if later > step:
                self._delete(later)
        processes.barrier()

    def _finish(self, writer: ocp.AsyncCheckpointer, step: int, leaves: dict[str, str]) -> None:
        """In the background: wait for the commit, write the manifest, delete old checkpoints."""
        try:
            with _quiet():
                writer.wait_until_finished()
                writer.close()
            path = self.directory / str(step)
            write_sealed(path / MANIFEST, {"step": step, "leaves": leaves, "sha256": hashes(path)})
            for old in self.steps()[: -self._keep]:
                self._delete(old)
        except Exception as error:
            self._failure = (step, error)

    def _remove_unfinished(self) -> None:
        """Delete what interrupted or failed saves left."""
        for path in self.directory.iterdir():
            if path.name.partition(".")[0].isdecimal() and not (path / MANIFEST).is_file():
                shutil.rmtree(path, ignore_errors=True)

    def _delete(self, step: int) -> None:
        """Delete the manifest first, so that an interrupted deletion leaves no valid checkpoint."""
        path = self.directory / str(step)
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)

    def _set_aside(self, path: Path, reason: str) -> None:
        number = 1
        while (target := self.directory / DAMAGED / f"{path.name}.{number}").exists():
            number += 1
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        self._say(f"checkpoint {path.name} is not usable ({reason}); moved to {target}, trying the one before it")


class _OneWrites:
    """Orbax compares what each process says of the arrays; here one says it."""

    def validate_all_array_metadatas(self, array_metadatas: Any) -> None:
        """Nothing to compare."""


def _writer() -> ocp.AsyncCheckpointer:
    """Orbax's writer of a checkpoint.

    Of several processes the first one writes alone, and every array whole; else each would write a part of it.
    """
    if processes.count() == 1:
        return ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
    alone = MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="tsgan")
    whole = ocp.type_handlers.ArrayHandler(use_replica_parallel=False, array_metadata_store=Store())
    compared: Any = _OneWrites()
    state = ocp.PyTreeCheckpointHandler(
        multiprocessing_options=alone,
        type_handler_registry=ocp.type_handlers.create_type_handler_registry((jax.Array, whole)),
        array_metadata_validator=compared,
    )
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
        state=state,
        meta=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
    )
    return ocp.AsyncCheckpointer(handler, multiprocessing_options=alone)


def abstract_like(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and types of a state for `restore`; tree: from jax.eval_shape(init, key)."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def differs(folder: Path, wanted: Any, *, whole: bool) -> str | None:
    """How a checkpoint's arrays differ from those of `wanted`, in a phrase, or None if they have its types and shapes.

    whole: it may hold no other arrays than these.
    """
    stored, asked = read_json(folder / MANIFEST)["leaves"], leaves_of(wanted)
    names = stored.keys() | asked.keys() if whole else asked.keys()
    different = sorted(name for name in names if stored.get(name) != asked.get(name))
    if not different:
        return None
    name = different[0]
    return (
        f"holds {name} as {stored.get(name, 'nothing')}, the config asks for {asked.get(name, 'nothing')} "
        f"({len(different)} such differences)"
    )


def read_state(folder: Path, wanted: Any) -> Any:
    """The arrays of a checkpoint's state that `wanted` names, in its tree; the others are not read.

    wanted: tree of jax.ShapeDtypeStruct with shardings, all of which the checkpoint must hold (`differs`).
    """
    item = _without_empty_fields(wanted)
    arguments = ocp.args.PyTreeRestore(
        item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item), partial_restore=True
    )
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        found = reader.restore(folder.resolve() / "state", args=arguments)
    by_place = {_place(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(found)}
    return jax.tree_util.tree_map_with_path(lambda path, _: by_place[_place(path)], wanted)


def _without_empty_fields(tree: Any) -> Any:
    """A state as Orbax stores it, dataclasses as dicts; to Orbax an empty field is a difference, not a part unread."""
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        tree = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
        tree = {name: value for name, value in tree.items() if jax.tree.leaves(value)}
    return {name: _without_empty_fields(value) for name, value in tree.items()} if isinstance(tree, dict) else tree


def _place(path: jax.tree_util.KeyPath) -> str:
    """The names on the way to a leaf: the same for a dataclass and for its dict."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def size(tree: Any) -> int:
    """Bytes of a tree of arrays or of their shapes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def leaves_of(tree: Any) -> dict[str, str]:
    """Type and shape of every leaf by its path, such as `.gen.params['b8']['w']`: `float32(3, 3, 512, 512)`."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{tuple(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder but the manifest, by relative path."""
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def unsound(folder: Path) -> str | None:
    """Why a checkpoint must not be used; None if every file matches the manifest."""
    if not (folder / MANIFEST).is_file():
        return "it has no manifest: writing was interrupted"
    try:
        expected = read_object(folder / MANIFEST, sha256=dict, leaves=dict)["sha256"]
        found = hashes(folder)
    except (UserError, OSError) as error:
        return f"its manifest or files cannot be read: {_first_line(error)}"
    changed = sorted(name for name in expected if expected[name] != found.get(name))
    return f"{changed[0]} is missing or changed since it was written" if changed else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Orbax's tracebacks of failures that are reported here in one line."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
