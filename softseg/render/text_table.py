"""One table of short texts, and its four forms: CSV, Markdown, LaTeX and HTML.

A text may hold line breaks: they stay breaks in Markdown, LaTeX and HTML, and are a space in
CSV. Whatever is special in a form is escaped, so that names from a YAML cannot break a table.
"""

from __future__ import annotations

import csv as csv_module
import io
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from softseg.core.files import write_atomically

_NUMBER = re.compile(r"(?=.*\d)[\W\dpne]*", re.DOTALL)  # "-1.2 ± 3", "38/40", "p = 0.04", "n = 3"
_MINUS = re.compile(r"(?<![\w.)\]-])-(?=\d)")
_UNIT = re.compile(r"(?<=[±=<,]) (?=[\d−])| (?=[=<] \d)")
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
_HTML = """\
{% macro show(cell) %}
{% if cell.bold %}<b>{{ lines(cell.text) }}</b>{% else %}{{ lines(cell.text) }}{% endif %}
{% if cell.mark %}&nbsp;<span class="mark">{{ cell.mark }}</span>{% endif %}
{% endmacro %}
<div class="table">
<div class="scroll" role="region" tabindex="0" aria-label="{{ table.title }}">
<table>
<caption><span>{{ lines(table.title) }}</span></caption>
<thead><tr>{% for text in table.header %}
<th scope="col" class="{{ kinds[loop.index0] }}">{{ lines(text) }}</th>
{% endfor %}</tr></thead>
<tbody>{% for row in table.rows %}
<tr><th scope="row">{{ show(row[0]) }}</th>{% for cell in row[1:] %}
<td class="{{ kinds[loop.index] }}">{{ show(cell) }}</td>
{% endfor %}</tr>
{% endfor %}</tbody>
</table>
</div>
{% for note in table.notes %}<p class="note">{{ lines(note) }}</p>
{% endfor %}</div>
"""


@dataclass(frozen=True)
class Cell:
    """One text of a table; `mark` is a sign or word after it that refers to a note."""

    text: str
    bold: bool = False
    mark: str = ""


@dataclass(frozen=True)
class TextTable:
    """A table whose rows all have as many cells as its header; raises ValueError otherwise.

    `name` is the stem of its files (`table_splits`); `notes` stand below it.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.header):
                found = f"{len(row)} cells, not {len(self.header)}"
                raise ValueError(f"table {self.name}, row {number}: {found}")


def csv(table: TextTable) -> str:
    """Header and rows, with the marks; bold, title and notes have no place in a CSV."""
    stream = io.StringIO()
    writer = csv_module.writer(stream, lineterminator="\n")
    writer.writerow(_flat(heading) for heading in table.header)
    writer.writerows([_flat(f"{cell.text} {cell.mark}") for cell in row] for row in table.rows)
    return stream.getvalue()


def markdown(table: TextTable) -> str:
    """A GitHub-flavored table below its title, a paragraph a note."""
    rule = ("---:" if number else "---" for number in _numeric(table))
    rows = [map(_markdown_text, table.header), rule, *(map(_markdown_cell, r) for r in table.rows)]
    grid = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    notes = map(_markdown_text, table.notes)
    return "\n\n".join([f"**{_markdown_text(table.title)}**", grid, *notes]) + "\n"


def latex(table: TextTable) -> str:
    """A `table` environment, for a document that uses the package booktabs."""
    columns = "".join("r" if number else "l" for number in _numeric(table))
    rows = [rf"    {' & '.join(map(_latex_cell, row))} \\" for row in table.rows]
    heading = " & ".join(map(_latex_text, table.header))
    label = re.sub(r"[^\w-]+", "-", table.name, flags=re.ASCII)
    lines = [
        r"\begin{table}",
        r"  \centering\footnotesize",
        rf"  \caption{{{_latex_text(_flat(table.title))}}}",
        rf"  \label{{tab:{label}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        *(r"    \toprule", rf"    {heading} \\", r"    \midrule", *rows, r"    \bottomrule"),
        r"  \end{tabular}",
        *(rf"  \par\smallskip {_latex_text(_flat(note))}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def html(table: TextTable) -> Markup:
    """A `<div class="table">`: the table in a box of its own to scroll in, notes below it.

    Columns of numbers have the class `number`, columns of sentences the class `long`.
    """
    longest = [max(map(len, column), default=0) for column in _columns(table)]
    texts = ["long" if length > _LONG else "short" for length in longest]
    kinds = ["number" if _numeric(table)[place] else kind for place, kind in enumerate(texts)]
    template = Environment(autoescape=True, trim_blocks=True).from_string(_HTML)
    return Markup(template.render(table=table, kinds=kinds, lines=_html_lines))


def on_screen(table: TextTable) -> Table:
    """The table for a terminal."""
    title, notes = escape(table.title), escape("\n".join(table.notes))
    shown = Table(title=title, title_justify="left", caption=notes)
    shown.caption_justify = "left"
    for heading, numeric in zip(table.header, _numeric(table), strict=True):
        shown.add_column(Text(heading), justify="right" if numeric else "left")
    for row in table.rows:
        texts = (Text(f"{c.text} {c.mark}".strip(), "bold" if c.bold else "") for c in row)
        shown.add_row(*texts)
    return shown


def write(table: TextTable, folder: Path) -> list[Path]:
    """Write `<name>.csv`, `.md` and `.tex` into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    forms = {".csv": csv(table), ".md": markdown(table), ".tex": latex(table)}
    for suffix, content in forms.items():
        write_atomically(folder / f"{table.name}{suffix}", content)
    return [folder / f"{table.name}{suffix}" for suffix in forms]


def _columns(table: TextTable) -> list[list[str]]:
    return [[row[place].text for row in table.rows] for place in range(len(table.header))]


def _numeric(table: TextTable) -> list[bool]:
    """Which columns hold numbers; the first one names the rows and never does."""
    return [False, *(any(map(_NUMBER.fullmatch, column)) for column in _columns(table)[1:])]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _typographic(text: str) -> str:
    """With true minus signs, and no line end within "± 3"; programs read CSV and Markdown."""
    return _UNIT.sub("\u00a0", _MINUS.sub("−", text))


def _markdown_text(text: str) -> str:
    return "<br>".join(_MARKDOWN.sub(r"\\\g<0>", _flat(line)) for line in text.splitlines())


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    bold = f"**{text}**" if cell.bold and text else text
    return f"{bold} {_markdown_text(cell.mark)}".strip()


def _latex_text(text: str) -> str:
    lines = [
        "".join(_LATEX.get(sign, sign) for sign in _typographic(_flat(line))).replace("--", "-{}-")
        for line in text.splitlines()
    ]
    stacked = r"\\".join(lines)
    return rf"\shortstack{{{stacked}}}" if len(lines) > 1 else stacked


def _latex_cell(cell: Cell) -> str:
    text = _latex_text(cell.text)
    bold = rf"\textbf{{{text}}}" if cell.bold else text
    return f"{bold} {_latex_text(cell.mark)}".strip()


def _html_lines(text: str) -> Markup:
    return Markup("<br>").join(_typographic(line) for line in text.splitlines())
