"""The report's sections, in order: samples, quality, copies, effect on detectors."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from tsgan_jax.evaluation.mask_statistics import PROPERTIES
from tsgan_jax.evaluation.mask_table import PSIS, REAL_TEST, REAL_TRAINING, SWEPT, SWEPT_ROWS, psi_name, rows_of
from tsgan_jax.evaluation.report import plots
from tsgan_jax.evaluation.report.figures import listed, number, pivoted
from tsgan_jax.evaluation.report.html import Child, Html, el, figure, join, mask_picture, picture, table
from tsgan_jax.evaluation.report.material import Material
from tsgan_jax.labels import NAMES, PALETTE

SUBJECTS = ("full", "lungs", "nodules")

Arrays = Mapping[str, np.ndarray]


def section(key: str, title: str, *children: Child) -> Html:
    """One section of the page."""
    return el("section", el("h2", title), *children, id=key)


def samples(material: Material) -> Html:
    """Masks with their CT, real and generated."""
    key = el(
        "p",
        [
            el("span", el("i", style=f"background:rgb({r},{g},{b})"), name)
            for name, (r, g, b) in zip(NAMES, PALETTE.tolist(), strict=True)
        ],
        class_="key",
    )
    parts: list[Child] = [key]
    pairs = material.arrays("translated")
    if pairs is not None:
        parts += [
            el("h3", "Real test masks: the mask, its real CT, the CT made from it"),
            el("p", "No network of this run has seen these slices.", class_="note"),
            el("div", [_strip(pairs, i, ("real", "generated")) for i in range(len(pairs["mask"]))], class_="slices"),
        ]
    made = material.arrays("generated")
    if made is not None:
        parts += [
            el("h3", "Generated slices: the mask from noise, its CT"),
            el("div", [_strip(made, i, ("generated",)) for i in range(len(made["mask"]))], class_="slices set"),
        ]
    if pairs is None and made is None:
        parts.append(el("p", "Not evaluated yet: bin/evaluate --only images makes them.", class_="note"))
    return section("samples", "Samples", parts)


def training(material: Material) -> Html:
    """Both stages' logs as curves."""
    drawn: list[Child] = []
    shares = tuple((f"{name}_share", f"real_{name}_share") for name in ("nodule", "trachea"))
    for stage, title, groups in (
        ("masks", "Stage 1", (("critic_loss", "generator_loss"), *shares)),
        ("translation", "Stage 2", (("generator_loss", "l1", "perceptual", "gan"), ("critic_loss",))),
    ):
        rows = material.log(stage)
        for names in groups:
            available = [name for name in names if any(isinstance(row.get(name), int | float) for row in rows)]
            if available:
                log = stage == "translation" and len(available) > 1
                plot = plots.curves(rows, available, f"{title}: {', '.join(available)}", log)
                drawn.append(figure(plot, f"{title}: {', '.join(name.replace('_', ' ') for name in available)}"))
    empty = el("p", "The run has no training log.", class_="note")
    return section("training", "Training", el("div", drawn, class_="plots") if drawn else empty)


def images(material: Material) -> Html:
    """PSNR, SSIM, feature distances, t-SNE."""
    parts: list[Child] = []
    near, far = material.of("similarity"), material.of("distance")
    if near:
        parts += [
            el("h3", "Against the real CT of the same mask"),
            el(
                "p",
                "Real test masks only: a generated mask has no real CT. PSNR on the 12-bit scale (MAX 4095), SSIM on "
                "the 8-bit scale (L 255). The reference is a real slice of another patient.",
                class_="note",
            ),
            pivoted([r for r in near if r.metric != "any"], SUBJECTS, "other patient"),
        ]
    if far:
        parts += [
            el("h3", "As a distribution"),
            el(
                "p",
                "Real test slices against the generated set. Distances: smaller is better; precision and recall: "
                "larger is better. The reference is the figure of other real slices, the best possible value for "
                "so few images. Only a distance on the published Inception weights is called FID.",
                class_="note",
            ),
            pivoted([r for r in far if r.metric != "any"], SUBJECTS, "real"),
        ]
    points = material.arrays("embedding")
    for record in material.of("embedding"):
        if record.value is not None and points is not None:
            words = (
                f"{record.metric}: {number(record.value)} (1: random mixing, 0: separate), of features, not of the "
                f"map; {record.n} slices of each kind. A t-SNE map shows neighbourhoods, not distances."
            )
            chart = plots.scatter(points["points"], points["is_real"].astype(bool))
            parts += [el("h3", "t-SNE"), figure(chart, words, "wide")]
    return section("images", "Image quality", parts or _not_yet("images"))


def masks(material: Material) -> Html:
    """Anatomy, diversity, precision and recall, the gate; comparison of sources of masks; truncation."""
    parts = [_anatomy(material) or _not_yet("masks"), _mask_sources(material), _mask_truncations(material)]
    return section("masks", "Mask quality", parts)


def _anatomy(material: Material) -> list[Child]:
    """The set's masks against real test masks; nothing if they were not measured."""
    records = [r for r in material.of("masks") if r.metric != "any"]
    if not records:
        return []
    units: dict[str, Child] = {name: f"{name}, {unit}" for name, unit in PROPERTIES.items()}
    distances = [r for r in records if r.subject in PROPERTIES]
    parts: list[Child] = [
        el(
            "p",
            "Wasserstein distance of each property between generated and real test masks, in the property's unit; "
            "the reference is that of as many training masks from the same test masks.",
            class_="note",
        ),
        listed(distances, "property", "real", units),
    ]
    values = material.arrays("masks")
    if values is not None:
        shown = [name for name in PROPERTIES if _has(values, name)]
        charts = [
            plots.histogram(values[f"generated: {name}"], values[f"real: {name}"], f"{name}, {PROPERTIES[name]}")
            for name in shown
        ]
        parts.append(el("div", [figure(chart, None) for chart in charts], class_="plots"))
    parts += [
        el("h3", "Diversity and the gate"),
        el(
            "p",
            "Precision is the share of generated masks whose anatomy is near that of a real test mask, recall the "
            "share of real test masks near a generated one; the reference is the figure of as many training masks.",
            class_="note",
        ),
        listed([r for r in records if r not in distances], "", "real"),
    ]
    gate = next((r for r in records if r.subject == "gate"), None)
    if gate is not None and gate.details.get("reasons"):
        told = ", ".join(f"{reason} {times}" for reason, times in gate.details["reasons"].items())
        parts.append(el("p", f"Refused for: {told}.", class_="note"))
    return parts


def _mask_sources(material: Material) -> list[Child]:
    """One row per figure, one column per source of masks; nothing if they were not measured."""
    found = material.of("mask sources")
    names, rows = rows_of(found)
    if not rows:
        return []
    counts = {one.subject: one.n for one in found if one.metric != "any"}
    body: list[list[Child]] = [
        [
            [row.name, el("span", row.unit, class_="small")],
            *("–" if (value := row.values.get(name)) is None else number(value) for name in names),
        ]
        for row in rows
    ]
    head: list[Child] = [
        "figure",
        *([name, el("span", f"n {counts[name]}", class_="ci")] for name in names),
    ]
    words = (
        "All masks before the gate; the first row is the share that passes it. Deformed masks are "
        "training masks, warped, with nodules at other places, without a network: the baseline of stage 1. Real "
        "training masks are as near to real test masks as can be expected. Precision and recall are "
        f"of equally many masks of each source, against the {REAL_TEST} masks. If precision is low, recall says "
        "little, because masks that are far from each other count as near to all masks between them."
    )
    return [el("h3", "Masks by their source"), el("p", words, class_="note"), table(head, body)]


def _mask_truncations(material: Material) -> list[Child]:
    """Figures of stage 1's masks over the truncation; nothing if they were not measured."""
    values = {(r.subject, r.metric): r.value for r in material.of("mask truncation") if r.value is not None}
    points = {
        name: [(psi, values[psi_name(psi), name]) for psi in PSIS if (psi_name(psi), name) in values]
        for name in SWEPT_ROWS
    }
    series = {name: line for name, line in points.items() if line}
    if not series:
        return []
    real = {name: values[REAL_TRAINING, name] for name in SWEPT_ROWS if (REAL_TRAINING, name) in values}
    words = (
        f"{SWEPT} masks of stage 1 at each psi, before the gate, from the same noise; at 1 nothing is truncated. "
        "Dashed: real training masks. A smaller psi makes masks more typical and less diverse; a smaller "
        "pairwise IoU is more diverse."
    )
    title = "Masks of stage 1 by truncation"
    return [el("h3", title), figure(plots.sweep(series, real, "truncation psi", title), words, "wide")]


def adherence(material: Material) -> Html:
    """Agreement of the CT with its mask."""
    records = [r for r in material.of("adherence") if r.metric != "any"]
    if not records:
        return section("adherence", "Does the CT match its mask?", _not_yet("masks"))
    contrast = material.arrays("contrast")
    chart = None
    if contrast is not None and len(contrast["generated"]) and len(contrast["real"]):
        label = "nodule minus lung around it, HU"
        drawn = plots.histogram(contrast["generated"], contrast["real"], label, size=plots.WIDE)
        chart = figure(drawn, None, "wide")
    words = (
        "The generated CT, segmented by this project's own lung segmentation, against the mask it was made from. The "
        "same figure on real pairs is the ceiling: no generator can exceed it."
    )
    return section(
        "adherence",
        "Does the CT match its mask?",
        el("p", words, class_="note"),
        listed(records, "class", "real"),
        chart,
    )


def copies(material: Material) -> Html:
    """The nearest training slices."""
    records = [r for r in material.of("copies") if r.metric != "any"]
    if not records:
        return section("copies", "Copies", _not_yet("masks"))
    words = (
        "The nearest training slice of every generated slice was searched, as a mask and as CT, also mirrored and "
        "shifted; the same for held-out real slices, which cannot be copies. A copy is a slice whose distance is below "
        "half the first percentile of held-out slices' distances. This is evidence, not proof."
    )
    parts: list[Child] = [el("p", words, class_="note"), listed(records, "level", "held-out", _LEVELS)]
    charts, pairs = [], []
    for level, unit in (
        ("mask", "share of pixels that differ"),
        ("ct", "root mean squared difference, share of the window"),
    ):
        kept = material.arrays(f"copies_{level}")
        if kept is None:
            continue
        drawn = plots.histogram(
            kept["distances"],
            kept["held_out"],
            f"distance to the nearest training slice, {level.replace('ct', 'CT')}",
            float(kept["threshold"]),
            "held-out",
        )
        charts.append(figure(drawn, f"{'As masks' if level == 'mask' else 'As CT'}: {unit}"))
        flagged = int((kept["distances"] < kept["threshold"]).sum())
        shown = len(kept["about"]) if flagged else min(6, len(kept["about"]))
        title = f"As {'masks' if level == 'mask' else 'CT'}: " + (
            f"{flagged} flagged, the nearest {shown} pairs" if flagged else f"none flagged, the nearest {shown} pairs"
        )
        pairs += [el("h3", title), el("div", [_pair(kept, i, level) for i in range(shown)], class_="slices")]
    return section("copies", "Copies", parts, el("div", charts, class_="plots"), pairs)


_LEVELS: dict[str, Child] = {"mask": "as a mask", "ct": "as CT"}


def _pair(arrays: Arrays, place: int, level: str) -> Html:
    """A generated slice next to its nearest training slice."""
    about = json.loads(str(arrays["about"][place]))
    tiles = [
        mask_picture(arrays["generated_mask"][place], "generated mask"),
        picture(arrays["generated"][place], "generated CT"),
        mask_picture(arrays["training_mask"][place], "mask of the nearest training slice"),
        picture(arrays["training"][place], "CT of the nearest training slice"),
    ]
    how = ", mirrored" if about["mirrored"] else ""
    if any(about["shift"]):
        how += ", shifted by " + " and ".join(f"{100 * part:.0f} %" for part in about["shift"])
    verdict = el("span", "flagged", class_="flag") if about["flagged"] else el("span", "not flagged", class_="ok")
    words = join([verdict, f" · distance {number(about['distance'])}{how} · {about['name']} and {about['seriesuid']}"])
    box = "pair flagged" if about["flagged"] else "pair"
    return el("figure", el("div", tiles, class_="row"), el("figcaption", words), class_=box)


def _strip(arrays: Arrays, place: int, views: Sequence[str]) -> Html:
    """A mask next to its CT."""
    tiles = [mask_picture(arrays["mask"][place], "mask"), *(picture(arrays[v][place], f"{v} CT") for v in views)]
    return el("div", tiles, class_="row")


def _has(values: Arrays, name: str) -> bool:
    return all(len(values.get(f"{side}: {name}", ())) > 0 for side in ("generated", "real"))


def _not_yet(part: str) -> Html:
    return el("p", f"Not evaluated yet, or not available: run bin/evaluate --only {part}.", class_="note")
