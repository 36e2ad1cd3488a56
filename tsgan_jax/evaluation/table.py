"""A table with its three forms of file, and figures of records as the text of its cells."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from pandas import DataFrame

from tsgan_jax.evaluation.records import Record
from tsgan_jax.files import write_bytes

NONE = "–"


@dataclass(frozen=True)
class Table:
    """One table.  name: "table1"; rows: one text per column; notes: below it."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Markdown with the title as a heading and the notes as a list."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        body = "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
        return "\n".join([f"### {self.title}", "", body, "", *(f"- {note}" for note in self.notes)]) + "\n"

    def csv(self) -> str:
        """CSV with header and rows, without notes."""
        return str(DataFrame(self.rows, columns=self.columns).to_csv(index=False, lineterminator="\n"))

    def latex(self) -> str:
        """A LaTeX `table` that needs no package."""
        lines = [" & ".join(map(_tex, line)) + r" \\" for line in (self.columns, *self.rows)]
        notes = [rf"\par\footnotesize {_tex(note)}" for note in self.notes]
        begin = [
            r"\begin{table}",
            rf"\caption{{{_tex(self.title)}}}",
            rf"\begin{{tabular}}{{{'l' * len(self.columns)}}}",
        ]
        body = [r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"]
        return "\n".join([*begin, *body, r"\end{tabular}", *notes, r"\end{table}"]) + "\n"

    def words(self) -> list[int]:
        """Positions of the columns of names, not numbers."""
        shown = [[row[place][:1] for row in self.rows if row[place] != NONE] for place in range(len(self.columns))]
        return [place for place, one in enumerate(shown) if one and not any(first in "+-0123456789" for first in one)]


def save_tables(made: Sequence[Table], folder: Path) -> list[str]:
    """Each table as <folder>/<name>.md, .csv and .tex; returns the markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        for suffix, text in (("md", one.markdown()), ("csv", one.csv()), ("tex", one.latex())):
            write_bytes(folder / f"{one.name}.{suffix}", text.encode())
    return [one.markdown() for one in made]


def shown_value(records: Sequence[Record]) -> str:
    """One fold's value, or the mean over folds."""
    values = [record.value for record in records if record.value is not None]
    return shown_spread(values) if values or not records else "none"


def shown_spread(values: Sequence[float]) -> str:
    if not values:
        return NONE
    return _number(mean(values)) + (f" ± {_number(stdev(values))}" if len(values) > 1 else "")


def shown_interval(records: Sequence[Record]) -> str:
    """The interval of a single record; intervals of several folds cannot be combined."""
    found = [record.interval for record in records if record.interval is not None]
    return f"{_number(found[0][0])} to {_number(found[0][1])}" if len(found) == len(records) == 1 else NONE


def shown_difference(records: Sequence[Record]) -> str:
    """Mean over folds; these are independent, so the squares of their errors add up."""
    found = [record for record in records if record.value is not None]
    if not found:
        return NONE
    value = mean(record.value for record in found if record.value is not None)
    if len(found) == 1 and found[0].interval is not None:
        low, high = found[0].interval
    else:
        half = 1.96 * sqrt(sum(record.details.get("error", 0.0) ** 2 for record in found)) / len(found)
        low, high = value - half, value + half
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.0f}"


def shown_count(records: Sequence[Record]) -> str:
    return str(sum(record.n for record in records)) if records else NONE


def _tex(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "–": "--",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    special |= {one: f"\\{one}" for one in "&%$#_{}"}
    return "".join(special.get(one, one) for one in text)
