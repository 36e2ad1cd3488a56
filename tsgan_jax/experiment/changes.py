"""A changed config beside the checkpoints that training would go on from: they must hold what it describes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from tsgan_jax.config import Config
from tsgan_jax.errors import UserError
from tsgan_jax.experiment.rundir import Differences
from tsgan_jax.files import read_json
from tsgan_jax.masks.growth import phase_at, plan
from tsgan_jax.masks.learner import stylegan
from tsgan_jax.train.checkpoint import MANIFEST, META, differs, unsound
from tsgan_jax.train.learner import without_frozen
from tsgan_jax.translation.registry import translator


def check_loads(run: Path, config: Config, differences: Differences, slices: int) -> None:
    """Raise UserError if a sound checkpoint of a changed stage cannot be loaded under `config`; reads no array.

    slices: real slices that are trained on.
    """
    for stage in differences:
        folders = [path.parent for path in (run / stage / "checkpoints").glob(f"*/{MANIFEST}")]
        for folder in sorted(one for one in folders if one.name.isdecimal() and unsound(one) is None):
            state = _state(folder, config, stage, read_json(folder / META), slices)
            if reason := differs(folder, without_frozen(state), whole=True):
                keys = ", ".join(differences[stage])
                raise UserError(
                    f"{keys}: this change is of other networks than those trained\n({folder}: {reason}; use the config "
                    "it was trained with, or another --run directory)"
                )


def _state(folder: Path, config: Config, stage: str, meta: Mapping[str, Any], slices: int) -> Any:
    """The state that training would go on with, as shapes."""
    if stage == "masks":
        phases, trained = plan(config.masks), meta["phase"]
        next_phase, _ = phase_at(phases, meta["images_seen"])
        if trained >= len(phases) or next_phase not in (trained, trained + 1):
            raise UserError(
                f"{folder}: was saved in phase {trained + 1}, its {meta['images_seen']} images end in phase "
                f"{next_phase + 1} of the changed plan; change the lengths of later phases only"
            )
        init = stylegan(config.masks, phases[trained]).init
    else:
        init = translator(config.translation, slices).init
    return jax.eval_shape(init, jax.random.key(0))
