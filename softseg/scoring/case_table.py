"""A table of which segmentation is of which case, for names that do not say it (`--cases`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from softseg.core.errors import UserError
from softseg.core.names import unknown_name
from softseg.data.loaders.delimited import read_rows
from softseg.data.subject import is_missing


@dataclass(frozen=True)
class TrueMask:
    """A mask that a line of the table names."""

    case: str
    path: str
    target: str
    rater: str


@dataclass(frozen=True)
class CaseTable:
    """The content of the table; paths are relative to the folders on the command line."""

    file: Path
    predictions: dict[str, str]
    """Path of a segmentation -> its case."""
    masks: tuple[TrueMask, ...]
    """The true masks; () if the table has none, as the truth is a dataset."""


def read_case_table(file: Path) -> CaseTable:
    """Read a CSV or TSV with the columns `case`, `prediction`, and for masks in folders `truth`.

    Further columns are `target` and `rater` of the mask. Lines of one case may repeat its
    prediction: one for each mask. Raises UserError for a missing column, and for a prediction of
    two cases.
    """
    rows = read_rows(file)
    for column in ("case", "prediction"):
        if not rows or column not in rows[0]:
            raise UserError(
                f"--cases {file}: {unknown_name('column', column, [*(rows or [{}])[0]])}"
            )
    predictions: dict[str, str] = {}
    for row in rows:
        if is_missing(row["prediction"]):
            continue
        case = predictions.setdefault(Path(row["prediction"]).as_posix(), row["case"])
        if case != row["case"]:
            raise UserError(f"--cases {file}: {row['prediction']} is of {case} and {row['case']}")
    return CaseTable(file, predictions, tuple(_masks(rows)))


def _masks(rows: list[dict[str, str]]) -> Iterator[TrueMask]:
    """Yield the mask of each line that names one; the raters of lines without one are counted."""
    count: dict[tuple[str, str], int] = {}
    for row in rows:
        if is_missing(row.get("truth", "")):
            continue
        target = row.get("target", "")
        target = "" if is_missing(target) else target
        number = count[row["case"], target] = count.get((row["case"], target), 0) + 1
        rater = row.get("rater", "")
        yield TrueMask(
            row["case"], row["truth"], target, f"{number}" if is_missing(rater) else rater
        )
