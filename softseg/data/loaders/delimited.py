"""Tables as people and spreadsheets save them: commas, semicolons or tabs; UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from softseg.core.errors import UserError

_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}
_EXCEL = re.compile(r"\"?sep=(.)\"?\r?\n")  # a first line that names the delimiter


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table as column -> cell, both without blanks around them.

    The delimiter is the one that the header has most of. Empty lines are left out; the missing
    cells of a short line are n/a. Raises UserError for a file that cannot be read or is not text,
    for columns without a name or with the same name, and for a line with too many cells.
    """
    text = _decode(path)
    start = _EXCEL.match(text)
    text = text[start.end() :] if start else text
    delimiter = start[1] if start else _delimiter(text.split("\n", 1)[0], path.suffix)
    try:
        lines = [
            [cell.strip() for cell in line]
            for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        ]
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); fix it") from error
    header, *rows = lines or [[]]
    for number, row in enumerate(rows, start=2):
        if any("\n" in cell for cell in row):
            raise UserError(f"{path}: line {number} has a quote that is closed on another line")
        if any(row[len(header) :]):
            raise UserError(f"{path}: line {number} has more values than the header has columns")
    rows = [row + ["n/a"] * (len(header) - len(row)) for row in rows if any(row)]
    _check_header(path, header, rows)
    return [{name: cell for name, cell in zip(header, row, strict=False) if name} for row in rows]


def _check_header(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Raise UserError for two columns of one name, and for values in a column without a name."""
    if repeated := [name for name in header if name and header.count(name) > 1]:
        raise UserError(f"{path}: two columns are called '{repeated[0]}'; rename or delete one")
    for number, name in enumerate(header, start=1):
        if not name and any(row[number - 1] not in ("", "n/a") for row in rows):
            raise UserError(f"{path}: column {number} has values, but no name in the first line")


def _decode(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte-order mark."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); fix it") from error
    encoding = "UTF-8-sig"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, raw = "UTF-16", raw[: len(raw) // 2 * 2]  # some programs append one byte, `\n`
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: line {line} is not {encoding.removesuffix('-sig')} text (byte "
            f"0x{raw[error.start]:02x}); save it as CSV UTF-8"
        ) from error
    if "\0" in text:
        raise UserError(f"{path}: is not UTF-8 text (UTF-16 without a mark?); save it as CSV UTF-8")
    return text


def _delimiter(header: str, suffix: str) -> str:
    """Return the delimiter that the header has most of, outside of quotes.

    Without any, or with as many of two, it is that of the file's ending.
    """
    unquoted = re.sub(r'"[^"]*"', "", header)
    usual = "," if suffix.lower() == ".csv" else "\t"
    return max(_DELIMITERS, key=lambda sign: (unquoted.count(sign), sign == usual))
