"""Metrics of training steps, summed on the device and read by the host only when a line is written."""

import math
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from tsgan_jax.types import Metrics

SKIPPED = "skipped"
"""Metric: number of steps with an update skipped because its gradient was not finite."""

RECENT = 20
"""Steps whose metrics are kept for a diagnosis."""

Numbers = Any
"""Scalars or arrays, on the device (jax) or fetched (numpy)."""


@flax.struct.dataclass
class Tally:
    """Sums since the last log point, and the steps before now.

    sums: of each metric over steps whose metrics are all finite; good, bad: number of those steps and of the others;
    streak: number of others in a row, up to now; recent: each metric of the last steps [RECENT], the latest last;
    taken: number of steps in `recent`, at most RECENT.
    """

    sums: dict[str, Numbers]
    good: Numbers
    bad: Numbers
    streak: Numbers
    recent: dict[str, Numbers]
    taken: Numbers


def empty(metrics: Mapping[str, Any]) -> Tally:
    """A tally of no steps; metrics: a step's, or their shapes."""
    zero = np.int32(0)
    return Tally(
        sums={name: np.float32(0) for name in metrics},
        good=zero,
        bad=zero,
        streak=zero,
        recent={name: np.zeros(RECENT, np.float32) for name in metrics},
        taken=zero,
    )


def add(tally: Tally, metrics: Metrics) -> Tally:
    """The tally with one more step; a pure function for the compiled step.

    A step counts as skipped if any metric, such as a gradient norm, is NaN or infinite: for a gradient norm,
    `update_player` has skipped the update.
    """
    values = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
    finite = jnp.isfinite(jnp.stack(list(values.values()))).all()
    return Tally(
        sums={name: tally.sums[name] + jnp.where(finite, value, 0.0) for name, value in values.items()},
        good=tally.good + finite,
        bad=tally.bad + ~finite,
        streak=jnp.where(finite, 0, tally.streak + 1),
        recent={name: jnp.roll(tally.recent[name], -1).at[-1].set(value) for name, value in values.items()},
        taken=jnp.minimum(tally.taken + 1, RECENT),
    )


def means(tally: Tally) -> dict[str, float]:
    """Mean of each metric and the count of skipped steps; where every step was skipped the means are NaN.

    tally: fetched from the device.
    """
    good = int(tally.good)
    mean = {name: float(total) / good if good else math.nan for name, total in tally.sums.items()}
    return {**mean, SKIPPED: float(tally.bad)}


def latest(tally: Tally) -> list[dict[str, float]]:
    """The metrics of the latest steps, the last one last; tally: fetched from the device."""
    rows = range(RECENT - int(tally.taken), RECENT)
    return [{name: float(values[row]) for name, values in tally.recent.items()} for row in rows]


def emptied(tally: Tally) -> Tally:
    """The tally after a log point: sums start again, `streak` and `recent` go on."""
    none = empty(tally.sums)
    return tally.replace(sums=none.sums, good=none.good, bad=none.bad)  # type: ignore[attr-defined, no-any-return]


def fetch(tally: Tally) -> Tally:
    """The tally on the host; waits for the step that made it."""
    fetched: Tally = jax.device_get(tally)
    return fetched
