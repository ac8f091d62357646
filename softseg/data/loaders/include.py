"""Which of the subjects that were found are used: those with certain values in their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from softseg.core.component import check_distinct
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing
from softseg.data.loaders.subject_files import Found

Values = tuple[str | int, ...]


Only = Annotated[Values, Field(min_length=1), AfterValidator(check_distinct)]
"""The values of one column that are kept."""


def selected(found: Sequence[Found], only: Mapping[str, Values]) -> list[Found]:
    """Those that have, in every column of `only`, one of its values.

    Raises UserError for a column or a value that nobody has, and where nobody fits them all.
    """
    kept = list(found)
    for column, values in only.items():
        _check(found, column, values)
        wanted = {str(value) for value in values}
        kept = [one for one in kept if one.columns.get(column) in wanted]
    if found and not kept:
        raise UserError(f"dataset.include: nobody fits all of {listing(only)}; remove one of them")
    return kept


def _check(found: Sequence[Found], column: str, values: Values) -> None:
    there = {one.columns[column] for one in found if column in one.columns}
    if found and not there:
        columns = {name for one in found for name in one.columns}
        near = did_you_mean(column, columns)
        raise UserError(
            f"dataset.include: no column '{column}'{near}; there are {listing(columns)}"
        )
    for value in map(str, values):
        if found and value not in there:
            near = did_you_mean(value, there)
            key = f"dataset.include.{column}"
            raise UserError(f"{key}: nobody has '{value}'{near}; there are {listing(there)}")
