"""Read columns about subjects from a TSV or CSV table; every value stays text."""

from __future__ import annotations

import csv
from pathlib import Path

from softseg.core.errors import UserError
from softseg.core.names import listing

Rows = dict[str, dict[str, str]]  # value of the key column -> the other columns


def read_table(path: Path, key: str | None = None) -> Rows:
    """Read a table: its key column's value -> the other columns, `n/a` kept as text.

    `key` names the column that identifies a row; None means the first one. Raises UserError for a
    file that is missing or is not a table, lacks the column, or has two columns of one name or two
    rows for one key.
    """
    delimiter = "," if path.suffix == ".csv" else "\t"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # a short line's missing values and a long line's surplus must not become None
            reader = csv.DictReader(file, delimiter=delimiter, restval="n/a", restkey="surplus")
            header = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); fix it") from error
    if repeated := [name for name in header if header.count(name) > 1]:
        raise UserError(f"{path}: two columns are called '{repeated[0]}'; rename or delete one")
    for number, row in enumerate(rows, start=2):
        if "surplus" in row:
            raise UserError(f"{path}: line {number} has more values than the header has columns")
    if not rows:
        raise UserError(f"{path}: is empty; give it a header line and a line per subject")
    key = key or next(iter(rows[0]))
    if key not in rows[0]:
        raise UserError(f"{path}: no column {key}; columns are {listing(rows[0])}")
    table: Rows = {}
    for row in rows:
        name = row.pop(key)
        if table.setdefault(name, row) is not row:
            raise UserError(f"{path}: two lines for '{name}'; keep one")
    return table
