"""Figure 4: the same masks, one column per system.  Figure 5: t-SNE of each system's images with the real ones.

The figures use the arrays that the evaluation of each run stored.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tsgan_jax.config import Config
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.report.material import Material
from tsgan_jax.evaluation.report.plots import MUTED, draw_points
from tsgan_jax.evaluation.sources import evenly
from tsgan_jax.files import replacing
from tsgan_jax.labels import PALETTE

Arrays = Mapping[str, NDArray[Any]]
Tile = NDArray[np.uint8] | None
"""Grey [h, w] or RGB [h, w, 3]; None if there is no image."""

INCHES = 1.35
DPI = 160
LETTERS = 20
"""Maximum number of characters per line above a column."""


def figure4(systems: Mapping[str, tuple[Path, Config]], rows: int, out: Path) -> Path | None:
    """Real test masks with their real CT and each system's, then masks of the set with each system's CT.

    systems: title to run and config, in the order of columns.  rows: of each kind.  A system whose set has other
    masks than the first one has no images there.  Returns `out`, or None if no run stored slices.
    Raises UserError if two runs translated different test masks.
    """
    kept = {title: Material(*place) for title, place in systems.items()}
    tested = {title: arrays for title, one in kept.items() if (arrays := one.arrays("translated")) is not None}
    made = {title: arrays for title, one in kept.items() if (arrays := one.arrays("generated")) is not None}
    grid: list[tuple[str, list[Tile]]] = []
    if tested:
        grid += _tested_rows(tested, list(systems), rows)
    if made:
        grid += _made_rows(made, list(systems), rows)
    if not grid:
        return None
    _draw(grid, ["mask", "real CT", *systems], out)
    return out


def _tested_rows(tested: Mapping[str, Arrays], titles: Sequence[str], rows: int) -> list[tuple[str, list[Tile]]]:
    first = next(iter(tested))
    for title, arrays in tested.items():
        if any(not np.array_equal(arrays[name], tested[first][name]) for name in ("mask", "real")):
            raise UserError(
                f"Figure 4: {title} and {first} have different test slices; remove evaluation/ of the older "
                "run and run the study again"
            )
    shown = tested[first]
    return [
        ("real test mask", [PALETTE[shown["mask"][i]], shown["real"][i], *_tiles(tested, titles, i)])
        for i in evenly(len(shown["mask"]), rows)
    ]


def _made_rows(made: Mapping[str, Arrays], titles: Sequence[str], rows: int) -> list[tuple[str, list[Tile]]]:
    shown = next(iter(made.values()))
    same = {title: arrays for title, arrays in made.items() if np.array_equal(arrays["mask"], shown["mask"])}
    return [
        ("mask of the set", [PALETTE[shown["mask"][i]], None, *_tiles(same, titles, i)])
        for i in evenly(len(shown["mask"]), rows)
    ]


def _tiles(arrays: Mapping[str, Arrays], titles: Sequence[str], place: int) -> list[Tile]:
    return [arrays[one]["generated"][place] if one in arrays else None for one in titles]


def _draw(grid: Sequence[tuple[str, Sequence[Tile]]], titles: Sequence[str], out: Path) -> None:
    shape = Figure(figsize=(INCHES * len(titles) + 0.3, INCHES * len(grid) + 0.3), layout="constrained")
    axes = shape.subplots(len(grid), len(titles), squeeze=False)
    for line, (name, tiles) in zip(axes, grid, strict=True):
        for one, tile in zip(line, tiles, strict=True):
            one.set_xticks([])
            one.set_yticks([])
            one.spines[:].set_visible(False)
            if tile is not None:
                one.imshow(tile, cmap=None if tile.ndim == 3 else "gray", vmin=0, vmax=255, interpolation="nearest")
        line[0].set_ylabel(name, fontsize=7, color=MUTED)
    for one, title in zip(axes[0], titles, strict=True):
        one.set_title(fill(title, LETTERS), fontsize=7)
    _save(shape, out)


def figure5(systems: Mapping[str, tuple[Path, Config]], out: Path) -> Path | None:
    """One panel per system with its mixing score; returns `out`, or None if no run has an embedding."""
    panels = {}
    for title, place in systems.items():
        material = Material(*place)
        score = next((r for r in material.figures("embedding").values() if r.value is not None), None)
        points = material.arrays("embedding")
        if score is not None and points is not None:
            panels[f"{fill(title, 2 * LETTERS)}\n{score.metric} {score.value:.2f}"] = points
    if not panels:
        return None
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    shape = Figure(figsize=(2.6 * columns, 2.6 * lines), layout="constrained")
    axes = shape.subplots(lines, columns, squeeze=False).ravel()
    for one in axes:
        one.set_axis_off()
    for one, (title, points) in zip(axes, panels.items(), strict=False):
        draw_points(one, points["points"], points["is_real"], 5)
        one.set_title(title, fontsize=7)
    axes[0].legend(fontsize=6, frameon=False, loc="best")
    _save(shape, out)
    return out


def _save(shape: Figure, out: Path) -> None:
    with replacing(out) as temporary:
        shape.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
