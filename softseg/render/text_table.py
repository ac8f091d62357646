"""A table of short texts as CSV, Markdown, LaTeX, HTML, or for a terminal.

Line breaks in a text stay breaks in Markdown, LaTeX and HTML, and become a space in CSV. Special
characters of a format are escaped, so that names from a YAML file cannot break a table.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup
from rich.text import Text

from softseg.core.files import write_atomically
from softseg.render.terminal_table import NUMBER, TerminalTable

_MINUS = re.compile(r"(?<![\w.)\]-])-(?=\d)")
_UNIT = re.compile(r"(?<=[±=<,]) (?=[\d−])| (?=[=<] \d)")
_UNIT_OF = re.compile(r" (?=\[(?:%|ml|mm)\])")  # the blank before the unit of a heading
_MARKDOWN = re.compile(r"[\\`*_|<>&~$#]|\](?=[(\[])")
_LATEX = {
    **{sign: f"\\{sign}" for sign in "%_&#${}"},
    **{sign: f"${sign}$" for sign in "<>"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # after \\ they would be its arguments
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"|": r"\textbar{}", "`": r"\textasciigrave{}", "\u00a0": "~", "…": r"\ldots{}"},
    **{"−": "$-$", "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "≈": r"$\approx$"},
    **{"≤": r"$\leq$", "≥": r"$\geq$", "°": r"$^\circ$", "²": "$^2$", "³": "$^3$"},
    **{"µ": r"$\mu$", "μ": r"$\mu$", "Δ": r"$\Delta$", "†": r"\dag{}"},
    **{"–": r"\textendash{}", "—": r"\textemdash{}"},
}
_LONG = 20
_WIDE = 12  # columns of a table on a page, above which its letters are smaller
_LATEX_PAGE = 92  # letters of a line in \\footnotesize on a page of an article
_LATEX_LONG = 32  # letters of a column, above which its texts are paragraphs


@dataclass(frozen=True)
class Cell:
    """One text of a table; `mark` is a sign or text after it that refers to a note."""

    text: str
    bold: bool = False
    mark: str = ""


@dataclass(frozen=True)
class TextTable:
    """A table; raises ValueError if a row does not have as many cells as the header.

    `name` is the stem of its files (`table_splits`); `notes` are printed below it.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    short_header: tuple[str, ...] = ()
    """The header in short, for a terminal; empty: `header`."""
    groups: tuple[str, ...] = ()
    """The group of each column, above its heading on a page; empty: no groups."""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.header):
                count = f"{len(row)} cells, not {len(self.header)}"
                raise ValueError(f"table {self.name}, row {number}: {count}")


def to_csv(table: TextTable) -> str:
    """Header and rows with their marks; without bold, title and notes, which a CSV cannot hold."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_flat(heading) for heading in table.header)
    writer.writerows([_flat(f"{cell.text} {cell.mark}") for cell in row] for row in table.rows)
    return stream.getvalue()


def to_markdown(table: TextTable) -> str:
    """A GitHub-flavored table below its title, then a paragraph per note."""
    rule = ("---:" if number else "---" for number in _numeric(table))
    rows: list[Iterable[str]] = [map(_markdown_text, table.header), rule]
    rows += [[_cell(cell, _markdown_text, "**{}**") for cell in row] for row in table.rows]
    grid = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    notes = map(_markdown_text, table.notes)
    return "\n\n".join([f"**{_markdown_text(table.title)}**", grid, *notes]) + "\n"


def to_latex(table: TextTable) -> str:
    """A `table` environment that fits a page; the document must use the package booktabs.

    Columns that do not fit next to each other follow in further blocks below, each with the first
    column, the names of the rows.
    """
    label = re.sub(r"[^\w-]+", "-", table.name, flags=re.ASCII)
    lines = [
        r"\begin{table}",
        r"  \centering\footnotesize",
        rf"  \caption{{{_latex_text(_flat(table.title))}}}",
        rf"  \label{{tab:{label}}}",
        *(line for block in _latex_blocks(table) for line in _latex_tabular(table, block)),
        *(rf"  \par\smallskip {_latex_text(_flat(note))}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_blocks(table: TextTable) -> list[list[int]]:
    """The columns of each block; together they are as wide as a page."""
    widths = [min(_latex_width(table, k), _LATEX_LONG) for k in range(len(table.header))]
    blocks = [[0]] if widths else [[]]
    for k in range(1, len(widths)):
        is_full = sum(widths[n] for n in [*blocks[-1], k]) > _LATEX_PAGE
        if is_full and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(k)
    return blocks


def _latex_width(table: TextTable, k: int) -> int:
    """Letters in the widest line of a column, and its gap."""
    texts = [table.header[k], *(f"{row[k].text} {row[k].mark}".strip() for row in table.rows)]
    return 2 + max(len(line) for text in texts for line in text.splitlines() or [""])


def _latex_tabular(table: TextTable, block: Sequence[int]) -> list[str]:
    """A `tabular` of some columns; long sentences are paragraphs."""
    numeric = _numeric(table)
    fits = sum(_latex_width(table, k) for k in range(len(table.header))) <= _LATEX_PAGE
    paragraph = "l" if fits else r"p{0.3\linewidth}"
    columns = "".join(
        "r" if numeric[k] else paragraph if _latex_width(table, k) > _LATEX_LONG else "l"
        for k in block
    )
    rows = []
    for row in table.rows:
        cells = (_cell(row[k], _latex_text, r"\textbf{{{}}}") for k in block)
        rows.append(rf"    {' & '.join(cells)} \\")
    heading = " & ".join(_latex_text(table.header[k]) for k in block)
    return [
        *([r"  \par\medskip"] if block[1:] and block[1] > 1 else []),
        rf"  \begin{{tabular}}{{{columns}}}",
        *(r"    \toprule", rf"    {heading} \\", r"    \midrule", *rows, r"    \bottomrule"),
        r"  \end{tabular}",
    ]


def to_html(table: TextTable) -> Markup:
    """A `<div class="table">`: the table in its own scrollable box, notes below it.

    Columns of numbers have the class `number`, columns of sentences the class `long`.
    """
    kinds = []
    for column, numeric in zip(_columns(table), _numeric(table), strict=False):  # maybe none
        longest = max(map(len, column), default=0)
        kinds.append("number" if numeric else "long" if longest > _LONG else "short")

    def lines(text: str) -> Markup:
        return Markup("<br>").join(_typographic(line) for line in text.splitlines())

    source = files("softseg.render").joinpath("table.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True).from_string(source)
    groups = [(name, len(list(columns))) for name, columns in groupby(table.groups)]
    shown = replace(table, rows=tuple((row[0], *map(_narrow, row[1:])) for row in table.rows))
    is_wide = len(table.header) > _WIDE
    header = [_UNIT_OF.sub("\n", text) if table.groups else text for text in table.header]
    return Markup(
        template.render(
            table=shown, header=header, kinds=kinds, lines=lines, groups=groups, is_wide=is_wide
        )
    )


def _narrow(cell: Cell) -> Cell:
    """The cell with a deviation below its mean, so that many columns fit next to each other."""
    return replace(cell, text=cell.text.replace(" ± ", "\n± "))


def to_terminal(table: TextTable) -> TerminalTable:
    """The table with a column for each of its rows: few candidates are compared in many metrics."""
    header = ("", *(_flat(f"{row[0].text} {row[0].mark}") for row in table.rows))
    rows: list[tuple[str | Text, ...]] = []
    for k, heading in enumerate(table.short_header or table.header):
        cells = [row[k] for row in table.rows]
        texts = (Text(f"{c.text} {c.mark}".strip(), "bold" * c.bold) for c in cells)
        rows.append((_flat(heading), *texts))
    return TerminalTable(table.title, header, tuple(rows[1:]), table.notes)


def write_table(table: TextTable, folder: Path) -> list[Path]:
    """Write `<name>.csv`, `.md` and `.tex` into a folder, which is created if necessary."""
    folder.mkdir(parents=True, exist_ok=True)
    forms = {".csv": to_csv(table), ".md": to_markdown(table), ".tex": to_latex(table)}
    for suffix, content in forms.items():
        write_atomically(folder / f"{table.name}{suffix}", content)
    return [folder / f"{table.name}{suffix}" for suffix in forms]


def _columns(table: TextTable) -> list[list[str]]:
    return [[row[k].text for row in table.rows] for k in range(len(table.header))]


def _numeric(table: TextTable) -> list[bool]:
    """Whether each column holds numbers; the first has the names of the rows and does not."""
    return [False, *(any(map(NUMBER.fullmatch, column)) for column in _columns(table)[1:])]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _typographic(text: str) -> str:
    """The text with typographic minus signs and without a line end in "± 3".

    Not for CSV and Markdown, which programs read.
    """
    return _UNIT.sub("\u00a0", _MINUS.sub("−", text))


def _markdown_text(text: str) -> str:
    return "<br>".join(_MARKDOWN.sub(r"\\\g<0>", _flat(line)) for line in text.splitlines())


def _latex_text(text: str) -> str:
    """Escape a text; several lines become a `shortstack`."""
    lines = []
    for line in text.splitlines():
        escaped = "".join(_LATEX.get(sign, sign) for sign in _typographic(_flat(line)))
        lines.append(escaped.replace("--", "-{}-"))  # not an en dash
    stacked = r"\\".join(lines)
    return rf"\shortstack{{{stacked}}}" if len(lines) > 1 else stacked


def _cell(cell: Cell, escaped: Callable[[str], str], bold: str) -> str:
    """Text and mark of a cell; `bold` is the format of a bold text."""
    text = escaped(cell.text)
    text = bold.format(text) if cell.bold and text else text
    return f"{text} {escaped(cell.mark)}".strip()
