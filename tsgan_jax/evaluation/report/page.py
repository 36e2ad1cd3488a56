"""Pages from templates, and the paper's tables as files."""

import base64
import io
import json
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from tsgan_jax import __version__
from tsgan_jax.config import Config
from tsgan_jax.config.reading import dump_config
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.mask_statistics import PROPERTIES
from tsgan_jax.evaluation.records import FOLDER, RECORDS, records_of
from tsgan_jax.evaluation.report import plots
from tsgan_jax.evaluation.report.material import Material
from tsgan_jax.evaluation.table import save_tables
from tsgan_jax.evaluation.tables import system_name, tables
from tsgan_jax.files import write_bytes
from tsgan_jax.labels import NAMES, PALETTE

REPORT = "report.html"
SHARES = frozenset({"share of copies", "share accepted"})
"""Metrics that are shown as percentages."""


def write_report(run: Path, config: Config) -> Path:
    """Write <run>/report.html; parts without an evaluation are marked.  Returns its path."""
    material = Material(run, config)
    write_page(
        run / REPORT,
        "run.html.j2",
        title=f"{run.resolve().name}: {system_name(config.system)}",
        run=material,
        config=config,
        settings=dump_config(config),
        source=source_of(config),
        tables=tables(material.records) if material.records else [],
    )
    return run / REPORT


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write a page of one of the templates: one file, for which browsers fetch nothing."""
    write_bytes(path, _environment().get_template(template).render(content).encode())


def write_tables(run: Path) -> list[str]:
    """Tables 1 to 4 from a run's records, as <run>/evaluation/tables/*.md, .csv and .tex; returns the markdown.

    Raises UserError if there is no record.
    """
    records = records_of(run)
    if not records:
        raise UserError(f"{run / FOLDER / RECORDS}: has no record; run bin/evaluate --run {run} first")
    return save_tables(tables(records), run / FOLDER / "tables")


def source_of(config: Config) -> str:
    """The kind of scans of a config, in words."""
    return "LUNA16-style scans" if config.data.root else "the procedural chest phantom"


def number(value: float, metric: str = "") -> str:
    """Three or four significant digits, with the zeros at the end; shares as percent."""
    if metric in SHARES:
        return f"{100 * value:.1f} %"
    if value and not 0.001 <= abs(value) < 1e6:
        return f"{value:.1e}"
    if not value or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:#.4g}" if abs(value) >= 100 else f"{value:#.3g}"


def _png(pixels: NDArray[np.uint8]) -> str:
    """Grey [h, w] or RGB [h, w, 3] as the address of an image inside the page."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _environment() -> Environment:
    """Templates with what they use; all text is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        plots=plots,
        version=__version__,
        classes=list(zip(NAMES, PALETTE.tolist(), strict=True)),
        properties={name: f"{name}, {unit}" for name, unit in PROPERTIES.items()},
    )
    made.filters.update(
        number=number,
        png=_png,
        coloured=PALETTE.__getitem__,
        system_name=system_name,
        stdev=stdev,
        fromjson=lambda text: json.loads(str(text)),
    )
    return made
