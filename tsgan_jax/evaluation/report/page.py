"""The page of report.html, and the paper's tables as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tsgan_jax.config import Config
from tsgan_jax.errors import UserError
from tsgan_jax.evaluation.records import current, read
from tsgan_jax.evaluation.report import cards, sections
from tsgan_jax.evaluation.report.detection import detection
from tsgan_jax.evaluation.report.figures import floor, missing, number
from tsgan_jax.evaluation.report.html import Child, Html, el, table
from tsgan_jax.evaluation.report.material import Material
from tsgan_jax.evaluation.report.style import STYLE
from tsgan_jax.evaluation.tables import Table, system_name, tables
from tsgan_jax.files import write_bytes

REPORT = "report.html"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Forbids browsers to fetch anything for this page."""

_LINKS = {
    "samples": "Samples",
    "training": "Training",
    "images": "Images",
    "masks": "Masks",
    "adherence": "CT against mask",
    "copies": "Copies",
    "detection": "Detection",
    "tables": "Tables",
    "missing": "Missing",
    "cards": "Cards",
    "config": "Config",
}


def write_report(run: Path, config: Config) -> Path:
    """Write <run>/report.html; parts without an evaluation are marked.  Returns its path."""
    path = run / REPORT
    write_bytes(path, page(Material(run, config)).encode())
    return path


def page(material: Material) -> str:
    """The whole page."""
    config = material.config
    title = f"{material.run.resolve().name}: {system_name(config.system)}"
    papers = _tables(material)
    gaps = missing(material.records)
    body: list[Child] = [
        sections.samples(material),
        sections.training(material),
        sections.images(material),
        sections.masks(material),
        sections.adherence(material),
        sections.copies(material),
        detection(material),
        papers,
        sections.section("missing", "Missing figures", gaps) if gaps else None,
        cards.cards(material),
        cards.provenance(material),
    ]
    links = {key: name for key, name in _LINKS.items() if (key != "missing" or gaps) and (key != "tables" or papers)}
    lead = [el("p", _lead(material), class_="lead"), el("div", _tiles(material), class_="tiles")]
    foot = "Made by bin/evaluate from evaluation/records.jsonl, which has a record of every figure."
    return document(title, "Evaluation of synthetic lung-nodule CT", lead, links, body, foot)


def write_tables(run: Path) -> list[str]:
    """Tables 1 to 4 from a run's records, as <run>/evaluation/tables/*.md, .csv and .tex; returns the markdown.

    Raises UserError if there is no record.
    """
    path = run / "evaluation" / "records.jsonl"
    records = current(read(path))
    if not records:
        raise UserError(f"{path}: has no record; run bin/evaluate --run {run} first")
    return save_tables(tables(records), path.parent / "tables")


def save_tables(made: Sequence[Table], folder: Path) -> list[str]:
    """Each table as <folder>/<name>.md, .csv and .tex; returns the markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        for suffix, text in (("md", one.markdown()), ("csv", one.csv()), ("tex", one.latex())):
            write_bytes(folder / f"{one.name}.{suffix}", text.encode())
    return [one.markdown() for one in made]


def document(title: str, kicker: str, lead: Child, links: Mapping[str, str], body: Child, foot: str) -> str:
    """A whole page in the report's style.  links: section key to name; lead: content below the title."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("title", title),
        el("style", Html(STYLE)),
    )
    top = el("header", el("p", kicker, class_="kicker"), el("h1", title), lead)
    nav = el("nav", el("div", [el("a", name, href=f"#{key}") for key, name in links.items()]), aria_label="sections")
    return (
        "<!doctype html>\n"
        + el("html", head, el("body", top, nav, el("main", body), el("footer", foot)), lang="en")
        + "\n"
    )


def shown_tables(made: Sequence[Table]) -> list[Child]:
    """Tables with their notes, for a page."""
    shown: list[Child] = []
    for one in made:
        texts = [place for place in range(len(one.columns)) if _is_text([row[place] for row in one.rows])]
        shown.append(table(one.columns, one.rows, one.title, texts))
        shown.append(el("ul", [el("li", note) for note in one.notes], class_="note"))
    return shown


def _lead(material: Material) -> str:
    config = material.config.data
    source = "LUNA16-style scans" if config.root else "the procedural chest phantom"
    folds = ", ".join(map(str, config.test_folds))
    return (
        f"{config.resolution} px, {source}, evaluated on test fold {folds}. Each figure has its number of images, a "
        "95 % interval, and the figure of real slices."
    )


def _tiles(material: Material) -> list[Html]:
    """The most important figures."""
    distances = [r for r in material.of("distance") if r.subject == "full" and r.metric.startswith(("FID", "FD-"))]
    wanted = [
        ("PSNR", "real test masks", "other patient", material.value("similarity", "full", "PSNR")),
        ("SSIM", "real test masks", "other patient", material.value("similarity", "full", "SSIM")),
        (None, "full slice", "real", next((r for r in distances if r.value is not None), None)),
        ("Dice, left lung", "CT against mask", "real", material.value("adherence", "left lung", "Dice")),
        ("Masks accepted", "by the gate", "real", material.value("masks", "gate", "share accepted")),
        ("Copies", "as CT", "held-out", material.value("copies", "ct", "share of copies")),
    ]
    return [
        el(
            "div",
            el("span", name or record.metric, class_="what"),
            el("b", number(record.value, record.metric)),
            el("span", where),
            el("span", f"{reference} {floor(record)}") if record.floor is not None else None,
            class_="tile",
        )
        for name, where, reference, record in wanted
        if record is not None and record.value is not None
    ]


def _tables(material: Material) -> Html | None:
    """The paper's tables, with its figures next to ours."""
    if not material.records:
        return None
    shown = shown_tables(tables(material.records))
    words = "bin/evaluate --tables writes them to evaluation/tables as Markdown, CSV and LaTeX."
    title = "Tables 1 to 4 with the paper's figures"
    return sections.section("tables", title, el("p", words, class_="note"), shown)


def _is_text(cells: Sequence[str]) -> bool:
    """Whether a column has names, not numbers."""
    return not any(cell[:1].isdigit() or cell[:1] in "+-–" for cell in cells)
