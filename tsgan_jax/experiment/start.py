"""Training that begins with the weights of other networks: `masks.start_from` and `translation.start_from`.

All arrays of their newest state are taken but counters, key and optimisers, which are new.  Packed networks hold the
running mean of stage 1's generator alone: the generator begins at it, the critic as drawn.  Stage 1 begins with the
phase that the other network has reached.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from tsgan_jax.config import Config, MasksConfig, TranslationConfig
from tsgan_jax.config.reading import run_config
from tsgan_jax.errors import UserError
from tsgan_jax.experiment import rundir
from tsgan_jax.experiment.stage import Stage
from tsgan_jax.generation import packed, runs
from tsgan_jax.masks.growth import Phase, plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.train import processes
from tsgan_jax.train.devices import place
from tsgan_jax.train.learner import Player, without_frozen, without_optimizers
from tsgan_jax.translation.registry import translator

Say = Callable[[str], None]
S = TypeVar("S")
Section = MasksConfig | TranslationConfig


class _Source(NamedTuple):
    """Networks to begin with."""

    name: str
    config: Config
    state: Any  # without optimisers
    phase: Phase | None  # of stage 1
    parent: Mapping[str, Any]


def _source(config: Config, stage: str, say: Say) -> _Source | None:
    """The networks that the setting names; UserError if there are none."""
    name: str | None = getattr(config, stage).start_from
    if name is None:
        return None
    try:
        folder = packed.folder_of(name)
        theirs = run_config(folder)
        if stage == "masks":
            return _Source(name, theirs, *runs.trained_masks(folder, theirs, say))
        state, parent = runs.trained_translation(folder, theirs, say)
        return _Source(name, theirs, state, None, parent)
    except UserError as error:
        raise UserError(f"{stage}.start_from: {error}") from None


def check(config: Config, stage: str, say: Say) -> None:
    """Raise UserError if a stage cannot begin with the networks that its `start_from` names."""
    source = _source(config, stage, say)
    if source is None:
        return
    ours, theirs = getattr(config, stage), getattr(source.config, stage)
    setting = f"{stage}.start_from: {source.name}"
    if stage == "translation" and ours.method != theirs.method:
        raise UserError(f"{setting} is of translation.method {theirs.method}, this config of {ours.method}")
    _index(config, source)
    if _shapes(ours, source.phase) == _shapes(theirs, source.phase):
        return
    differing = {name: getattr(theirs, name) for name in type(ours).model_fields}
    differing = {name: value for name, value in differing.items() if value != getattr(ours, name)}
    deciding = [name for name in differing if _decides(ours, name, differing[name], source.phase)] or list(differing)
    changes = ", ".join(f"{stage}.{name}={differing[name]}" for name in deciding)
    raise UserError(f"{setting} has networks of other shapes than this config; they are those of {changes}")


def first_phase(config: Config) -> int:
    """The index of the phase that stage 1 begins with."""
    source = _source(config, "masks", lambda line: None)
    return _index(config, source) if source else 0


def begun(stage: Stage, fresh: S, mesh: Mesh) -> S:
    """A stage's initial state `fresh`, with the weights that it begins with, if others than it has; on the mesh.

    Writes their source to the stage's manifest.
    """
    source = _source(stage.config, stage.name, stage.console.say)
    if source is None:
        return fresh
    weights = source.state
    if getattr(weights, "gen", fresh) is None:  # packed
        gen = Player(params=jax.tree.map(jnp.copy, weights.ema), opt_state=())
        weights = weights.replace(gen=gen, critic=fresh.critic)  # type: ignore[attr-defined]
    if processes.is_first():
        rundir.note_start(stage.run, stage.name, {"source": source.name, **source.parent})
    stage.console.say(f"stage {stage.name}: begins with the weights of {source.name}")
    return place(_laid_over(fresh, weights), mesh)  # type: ignore[no-any-return]


def _laid_over(fresh: S, weights: Any) -> S:
    """`fresh` with all of `weights` but counters and key; its optimisers are kept."""

    def begins(new: Any, old: Any) -> Any:
        return Player(params=old.params, opt_state=new.opt_state) if isinstance(new, Player) else old

    state = jax.tree.map(begins, without_frozen(fresh), weights, is_leaf=lambda part: isinstance(part, Player))
    kept = ("step", "images_seen", "key", "frozen")
    laid: S = state.replace(**{name: getattr(fresh, name) for name in kept if hasattr(fresh, name)})
    return laid


def _index(config: Config, source: _Source) -> int:
    """Our phase with the source's resolution, in a fade or not; of stage 2: 0."""
    phase = source.phase
    if phase is None:
        return 0
    found = _like(config.masks, phase)
    if found is None:
        raise UserError(
            f"masks.start_from: {source.name} has grown to {phase.resolution} px{', in a fade' if phase.fade else ''}; "
            f"of this config that is no phase: see masks.grow_to, {config.masks.resolutions[-1]} px here, and "
            "masks.fade_fraction"
        )
    return found


def _like(config: MasksConfig, phase: Phase) -> int | None:
    same = ((index, one.resolution, one.fade) for index, one in enumerate(plan(config)))
    return next((index for index, *rest in same if rest == [phase.resolution, phase.fade]), None)


def _decides(ours: Section, name: str, value: Any, phase: Phase | None) -> bool:
    """Whether one setting of theirs changes the shapes of our networks."""
    try:
        return _shapes(ours.model_copy(update={name: value}), phase) != _shapes(ours, phase)
    except UserError:  # it does not go with our other settings
        return True


def _shapes(section: Section, phase: Phase | None) -> Any:
    """Tree and shapes of a stage's state without optimisers, of stage 1 in a phase like `phase`."""
    if isinstance(section, MasksConfig):
        index = _like(section, phase) if phase else None
        if index is None:
            raise UserError("there is no such phase")
        init: Callable[..., Any] = stylegan(section, plan(section)[index]).init
    else:
        off = {"perceptual": False} if section.perceptual_on else {}
        init = translator(section.model_copy(update=off)).init
    leaves, tree = jax.tree.flatten(without_optimizers(jax.eval_shape(init, jax.random.key(0))))
    return [leaf.shape for leaf in leaves], tree
