"""The report's plots as SVG inside the page; real is always blue, generated orange."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from tsgan_jax.evaluation.report.material import Material

REAL, GENERATED, INK, MUTED, LINE = "#2f6f9f", "#d0652b", "#17212b", "#5c6b78", "#dfe5ea"

_LOOK: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": f"cycler('color', ['{REAL}', '{GENERATED}', '#4d8a57', '#8a5fa8', '#a3842c', '{MUTED}'])",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
}
WIDE = (7.6, 3.2)
_POINTS = 600
"""Maximum number of points of a curve; longer logs are subsampled."""


def training_curves(material: Material) -> dict[str, Markup]:
    """Caption to plot of what both stages logged."""
    drawn = {}
    shares = tuple((f"{name}_share", f"real_{name}_share") for name in ("nodule", "trachea"))
    for stage, title, groups in (
        ("masks", "Stage 1", (("critic_loss", "generator_loss"), *shares)),
        ("translation", "Stage 2", (("generator_loss", "l1", "perceptual", "gan"), ("critic_loss",))),
    ):
        rows = material.log(stage)
        for names in groups:
            available = [name for name in names if any(isinstance(row.get(name), int | float) for row in rows)]
            if available:
                caption = f"{title}: {', '.join(name.replace('_', ' ') for name in available)}"
                drawn[caption] = curves(rows, available, caption, stage == "translation" and len(available) > 1)
    return drawn


def curves(rows: Sequence[Mapping[str, Any]], names: Sequence[str], title: str, log: bool = False) -> Markup:
    """Logged quantities over images seen, with a line at each change of resolution."""

    def draw(axes: Any) -> None:
        kept = rows[:: max(1, len(rows) // _POINTS)]
        for name in names:
            points = [(row["images"], row[name]) for row in kept if isinstance(row.get(name), int | float)]
            axes.plot(*zip(*points, strict=True), label=name.replace("_", " "))
        changes = [b["images"] for a, b in pairwise(rows) if a.get("resolution") != b.get("resolution")]
        for place in changes:
            axes.axvline(place, color=MUTED, linewidth=0.6, linestyle=":")
        if log:
            axes.set_yscale("log")
        axes.set_xlabel("images seen" + (" (dotted: the resolution doubles)" if changes else ""))
        axes.legend(loc="best")

    return _svg(draw, title)


def histogram(
    generated: np.ndarray,
    real: np.ndarray,
    label: str,
    threshold: float | None = None,
    real_name: str = "real",
    size: tuple[float, float] = (4.6, 3.0),
) -> Markup:
    """Two distributions on common bins, as shares."""

    def draw(axes: Any) -> None:
        both = np.concatenate([generated, real])
        low, high = np.percentile(both, [0.5, 99.5]) if len(both) > 200 else (both.min(), both.max())
        if threshold is not None:
            low = min(low, 0.0)
        if np.array_equal(both, both.round()) and high - low < 20:
            edges = np.arange(low - 0.5, high + 1.5)
            axes.xaxis.get_major_locator().set_params(integer=True)
        else:
            edges = np.linspace(low, high if high > low else low + 1, 25)
        for values, name, colour in ((real, real_name, REAL), (generated, "generated", GENERATED)):
            share = np.full(len(values), 1 / max(1, len(values)))
            axes.hist(np.clip(values, edges[0], edges[-1]), edges, weights=share, color=colour, alpha=0.5, label=name)
        if threshold is not None:
            axes.axvline(threshold, color="#b3261e", linewidth=1, label="threshold of a copy")
        axes.set_xlabel(label)
        axes.set_ylabel("share")
        axes.legend(loc="best")

    return _svg(draw, f"{label}: generated and {real_name}", size)


def scatter(points: np.ndarray, is_real: np.ndarray) -> Markup:
    """The t-SNE map.  points: [n, 2]; is_real: [n]."""

    def draw(axes: Any) -> None:
        draw_points(axes, points, is_real, 12)
        axes.legend(loc="best")

    return _svg(draw, "t-SNE of real and generated slices", (7.6, 4.2))


def draw_points(axes: Any, points: np.ndarray, is_real: np.ndarray, size: float) -> None:
    """Real and generated points, without axes.  points: [n, 2]; is_real: [n]; size: as in matplotlib's `scatter`."""
    is_real = is_real.astype(bool)
    for chosen, name, colour in ((is_real, "real", REAL), (~is_real, "generated", GENERATED)):
        axes.scatter(*points[chosen].T, s=size, alpha=0.65, linewidths=0, color=colour, label=name)
    axes.set_axis_off()


def gains(series: Mapping[str, Sequence[tuple[int, float, float]]], label: str) -> Markup:
    """A detector's figure over synthetic images added: (added, mean, spread) of each model."""

    def draw(axes: Any) -> None:
        for name, points in series.items():
            added, mean, spread = (np.array(column, float) for column in zip(*sorted(points), strict=True))
            axes.errorbar(added, mean, yerr=spread, marker="o", markersize=4, capsize=3, label=name)
        axes.set_xlabel("synthetic images added to the real ones")
        axes.set_ylabel(label)
        axes.legend(loc="best")

    return _svg(draw, f"{label} over synthetic images added", WIDE)


def sweep(
    series: Mapping[str, Sequence[tuple[float, float]]], real: Mapping[str, float], label: str, title: str
) -> Markup:
    """Shares, 0 to 1, over a setting: (setting, share) of each figure; dashed: real masks."""

    def draw(axes: Any) -> None:
        for name, points in series.items():
            (line,) = axes.plot(*zip(*sorted(points), strict=True), marker="o", markersize=4, label=name)
            if name in real:
                axes.axhline(real[name], color=line.get_color(), linewidth=1, linestyle="--")
        axes.plot([], [], color=MUTED, linewidth=1, linestyle="--", label="real training masks")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(label)
        axes.set_ylabel("share")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))

    return _svg(draw, title, WIDE)


def _svg(draw: Callable[[Any], None], title: str, size: tuple[float, float] = (4.6, 3.0)) -> Markup:
    """The drawing without prologue and metadata; its identifiers are salted, because a page has many drawings."""
    with rc_context(_LOOK | {"svg.hashsalt": title}):
        shape = Figure(figsize=size, layout="constrained")
        draw(shape.subplots())
        content = io.StringIO()
        shape.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1))
