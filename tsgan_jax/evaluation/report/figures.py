"""Records as formatted numbers and tables."""

from collections.abc import Sequence

from tsgan_jax.evaluation.records import Record
from tsgan_jax.evaluation.report.html import Child, Html, el, table

SHARES = frozenset({"share of copies", "share accepted"})
"""Metrics that are shown as percentages."""


def number(value: float, metric: str = "") -> str:
    """Three or four significant digits; shares as percent."""
    if metric in SHARES:
        return f"{100 * value:.1f} %"
    if value and not 0.001 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3g}"


def cell(record: Record | None) -> Child:
    """A value with its interval below it, or a dash with the reason."""
    if record is None:
        return "–"
    if record.value is None:
        return el("span", "none", class_="gap", title=record.reason or "")
    interval = None
    if record.interval:
        low, high = (number(bound, record.metric) for bound in record.interval)
        interval = el("span", f"{low} to {high}", class_="ci")
    return [number(record.value, record.metric), interval]


def floor(record: Record | None) -> str:
    """The figure of real against real."""
    return "–" if record is None or record.floor is None else number(record.floor, record.metric)


def listed(records: Sequence[Record], first: str, reference: str, names: dict[str, Child] | None = None) -> Html:
    """One row per record: name, value with interval, reference, n."""
    rows: list[list[Child]] = []
    for record in records:
        what = (names or {}).get(record.subject, record.subject)
        rows.append([[what, el("span", record.metric, class_="small")], cell(record), floor(record), str(record.n)])
    return table([first, "generated", reference, "n"], rows)


def pivoted(records: Sequence[Record], subjects: Sequence[str], reference: str) -> Html:
    """One row per metric, two columns per subject: the value with its interval, and the reference."""
    by = {(r.metric, r.subject): r for r in records}
    metrics = list(dict.fromkeys(record.metric for record in records))
    head = ["figure", *(part for subject in subjects for part in (subject, reference))]
    rows: list[list[Child]] = []
    for metric in metrics:
        row: list[Child] = [metric]
        for subject in subjects:
            record = by.get((metric, subject))
            count = (
                el("span", f"n {record.n}", class_="ci") if record is not None and record.value is not None else None
            )
            row += [[cell(record), count], floor(record)]
        rows.append(row)
    return table(head, rows)


def missing(records: Sequence[Record]) -> Html | None:
    """The missing figures, grouped by reason."""
    by_reason: dict[str, list[str]] = {}
    for record in records:
        if record.value is None:
            name = record.kind if record.metric == "any" else f"{record.metric} ({record.subject})"
            by_reason.setdefault(record.reason or "no reason was recorded", []).append(name)
    if not by_reason:
        return None
    rows: list[list[Child]] = [[", ".join(dict.fromkeys(names)), reason] for reason, names in by_reason.items()]
    return table(["figure", "reason"], rows, words=(0, 1))
