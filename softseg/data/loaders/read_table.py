"""Columns about subjects from a TSV or CSV table, every value as the text it is."""

from __future__ import annotations

import csv
from pathlib import Path

from softseg.core.errors import UserError
from softseg.core.names import listing

Rows = dict[str, dict[str, str]]


def read_table(path: Path, key: str | None = None) -> Rows:
    """Read a table: its key column's value -> the other columns, `n/a` kept as text.

    `key` names the column that identifies a row; None takes the first one. Raises UserError for a
    file that is missing, is no table, lacks the column, has two columns of one name, or two rows
    for one key.
    """
    rows = _read(path)
    if not rows:
        raise UserError(f"{path}: is empty; give it a header line and a line per subject")
    key = key or next(iter(rows[0]))
    if key not in rows[0]:
        raise UserError(f"{path}: no column {key}; there are {listing(rows[0])}")
    table: Rows = {}
    for row in rows:
        name = row.pop(key)
        if table.setdefault(name, row) is not row:
            raise UserError(f"{path}: two lines for '{name}'; keep one")
    return table


def _read(path: Path) -> list[dict[str, str]]:
    delimiter = "," if path.suffix == ".csv" else "\t"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # a short line's missing values and a long line's surplus must not become None
            reader = csv.DictReader(file, delimiter=delimiter, restval="n/a", restkey="surplus")
            header = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); mend it") from error
    if twice := [name for name in header if header.count(name) > 1]:
        raise UserError(f"{path}: two columns are called '{twice[0]}'; rename or delete one")
    for number, row in enumerate(rows, start=2):
        if "surplus" in row:
            raise UserError(f"{path}: line {number} has more values than the header has columns")
    return rows
