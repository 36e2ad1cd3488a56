"""What a set looks like: sheet.png, some slices with their nodules outlined, and index.html, a page of all.

Both are made from the set alone, so that equal sets have equal ones.
"""

from functools import cache
from math import pi, sqrt
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from PIL import Image, ImageDraw

from tsgan_jax.files import file_sha256, replacing, write_bytes
from tsgan_jax.generation.manifest import INDEX, SHEET
from tsgan_jax.labels import NAMES, PALETTE

MOST = 48
COLUMNS = 8
SIDE = 192  # of a tile, px
GAP = 4
INK = (255, 92, 92)

SHOWN = 500
"""Slices on the page; more make a browser slow."""


def write(out: Path, manifest: dict[str, Any], tree: dict[str, Any]) -> dict[str, str]:
    """Write both; returns their hashes.  manifest: of the set (manifest.py); tree: its COCO file, with polygons."""
    if tree["images"]:
        with replacing(out / SHEET) as temporary:
            _sheet(out, tree).save(temporary, "PNG", compress_level=3)
    else:
        (out / SHEET).unlink(missing_ok=True)
    index = write_index(out, manifest, tree)
    return {SHEET: file_sha256(out / SHEET), INDEX: index} if tree["images"] else {INDEX: index}


def write_index(out: Path, manifest: dict[str, Any], tree: dict[str, Any]) -> str:
    """Write the page: no scripts, and links relative to the set, so that it can be moved.  Returns its hash."""
    records = {record["file_name"]: record for record in manifest["images"] if record["accepted"]}
    outlines = _outlines(tree)
    slices = [
        {
            **image,
            "coloured": "colour" in records[image["file_name"]]["sha256"],
            "outlines": [" ".join(f"{x},{y}" for x, y in points) for points, _ in outlines[image["id"]]],
            "millimetres": [2 * sqrt(area / pi) * image["pixel_mm"] for _, area in outlines[image["id"]]],
        }
        for image in tree["images"][:SHOWN]
    ]
    page = _template().render(
        manifest=manifest,
        made_from={"kind": "labelled", **manifest["made_from"]},
        slices=slices,
        accepted=len(records),
        facts=_facts(manifest, tree),
        classes=list(zip(NAMES, PALETTE.tolist(), strict=True)),
        ink="#{:02x}{:02x}{:02x}".format(*INK),
    )
    write_bytes(out / INDEX, page.encode())
    return file_sha256(out / INDEX)


def _facts(manifest: dict[str, Any], tree: dict[str, Any]) -> list[str]:
    """What is worth knowing of a set, in words."""
    made_from, facts = manifest["made_from"], []
    if tree["images"]:
        first = tree["images"][0]
        sizes = [image["pixel_mm"] for image in tree["images"]]
        low, high = f"{min(sizes):.3f}", f"{max(sizes):.3f}"
        facts.append(f"{first['width']} x {first['height']} px of {low if low == high else f'{low} to {high}'} mm")
    if "window" in made_from:
        facts.append("window {:g} to {:g} HU".format(*made_from["window"]))
    if "seed" in made_from:
        facts.append(f"seed {made_from['seed']}")
    if rejected := sum(not record["accepted"] for record in manifest["images"]):
        facts.append(f"{rejected} more were refused by the plausibility gate")
    if specks := manifest.get("specks_dropped"):
        facts.append(f"{specks} specks have no box")
    return facts


@cache
def _template() -> Template:
    """All text in it is escaped."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.get_template(f"{INDEX}.j2")


def _sheet(out: Path, tree: dict[str, Any]) -> Image.Image:
    have, outlines = tree["images"], _outlines(tree)
    most = min(MOST, len(have))
    chosen = [have[place * len(have) // most] for place in range(most)]
    columns = min(COLUMNS, len(chosen))
    step = SIDE + GAP
    page = Image.new("RGB", (columns * step - GAP, -(-len(chosen) // columns) * step - GAP), (24, 24, 24))
    draw = ImageDraw.Draw(page)
    for place, image in enumerate(chosen):
        x, y = place % columns * step, place // columns * step
        scale = SIDE / max(image["width"], image["height"])
        size = (round(image["width"] * scale), round(image["height"] * scale))
        with Image.open(out / "images" / image["file_name"]) as ct:
            page.paste(ct.convert("RGB").resize(size, Image.Resampling.BICUBIC), (x, y))
        for points, _ in outlines[image["id"]]:
            draw.line([(x + scale * px, y + scale * py) for px, py in (*points, points[0])], INK)
        draw.text((x + 4, y + 2), Path(image["file_name"]).stem[-12:], (200, 200, 200))
    return page


def _outlines(tree: dict[str, Any]) -> dict[int, list[tuple[list[tuple[int, int]], int]]]:
    """Image id to the polygons of its nodules, each with its area in pixels; sets of before have run lengths."""
    found: dict[int, list[tuple[list[tuple[int, int]], int]]] = {image["id"]: [] for image in tree["images"]}
    for annotation in tree["annotations"]:
        for values in annotation["segmentation"] if isinstance(annotation["segmentation"], list) else ():
            points = list(zip(values[::2], values[1::2], strict=True))
            found[annotation["image_id"]].append((points, annotation["area"]))
    return found
