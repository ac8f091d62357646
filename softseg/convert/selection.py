"""`subject_selection` -> `dataset.only`, and where the columns for it and for splits come from."""

from __future__ import annotations

from collections.abc import Iterator

from softseg.convert.facts import Fact, fixed, leave_unless_off
from softseg.convert.read import Source
from softseg.convert.split import needs_columns

_KEY = "loader_parameters.subject_selection"


def convert_selection(source: Source, bids: bool) -> Iterator[Fact]:
    """`dataset.only` where all values are of one column; ivadomed drew n of each at random."""
    columns = source.items(f"{_KEY}.metadata", str)
    values = source.items(f"{_KEY}.value", (str, int))
    one_column = len(set(columns)) == 1 and bool(values)
    if one_column:
        wanted = list(dict.fromkeys(values))
        for key in ("metadata", "value"):
            note = f"{_KEY}.{key}: {source.said(f'{_KEY}.{key}')}"
            yield Fact(f"{_KEY}.{key}", ("dataset", "only", columns[0]), wanted, note=note)
    else:
        why = "subjects are chosen by values of one column (dataset.only), not of one or another"
        for key in ("metadata", "value"):
            yield leave_unless_off(source, f"{_KEY}.{key}", why)
    drawn = "ivadomed drew so many at random; here all who fit are used, or name them: dataset.only"
    yield leave_unless_off(source, f"{_KEY}.n", drawn)
    if not bids and (one_column or needs_columns(source)):
        yield fixed(("dataset", "table"), "participants.tsv", "the columns to choose subjects by")
