"""A training state that goes through a checkpoint, as a resumed run's does."""

from pathlib import Path
from typing import Any

import jax

from tsgan_jax.files import read_json
from tsgan_jax.train.checkpoint import MANIFEST, Checkpoints, abstract_like
from tsgan_jax.train.devices import data_mesh, replicated
from tsgan_jax.train.learner import with_frozen
from tsgan_jax.translation.api import Translator


def resumed(method: Translator, state: Any, folder: Path) -> Any:
    """The state as a run resumed from its checkpoint begins with it; the checkpoint stays in `folder`."""
    checkpoints, one = Checkpoints(folder, keep=1), replicated(data_mesh(1))
    assert checkpoints.save(state, {}, int(state.step))
    saved = checkpoints.newest()
    assert saved is not None
    restored = checkpoints.restore(saved, abstract_like(jax.eval_shape(method.init, jax.random.key(0)), one))
    checkpoints.wait()
    return with_frozen(restored, method.init, one)


def arrays_saved(folder: Path, step: int) -> list[str]:
    """Names of the arrays in a checkpoint of `folder`."""
    return sorted(read_json(folder / str(step) / MANIFEST)["leaves"])


def same_bits(a: Any, b: Any) -> bool:
    """Whether two trees have the same structure and every array the same values."""
    alike = jax.tree.structure(a) == jax.tree.structure(b)
    return alike and all(bool((x == y).all()) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))
