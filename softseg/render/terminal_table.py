"""A table for a terminal: it fits the width, and no number is cut or broken over two lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

# "-1.2 ± 3", "38/40", "p = 0.04", "n = 3 of 4"
NUMBER = re.compile(r"(?=.*\d)(?:[\W\dpne]|of)*", re.DOTALL)
_LONGEST_WORD = 16  # of a heading or name that is not divided
_FRAME = 3  # a column's two blanks and its line


@dataclass(frozen=True)
class TerminalTable:
    """A table that rich prints in the width there is.

    Names and sentences wrap where necessary. Columns that still do not fit follow in further blocks
    below, each of which repeats the first `labels` columns.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | Text, ...], ...]
    notes: tuple[str, ...] = ()
    """Printed below the table, a line each."""
    labels: int = 1
    """How many of the first columns name a row."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the title, the blocks and the notes."""
        if self.title:
            yield Text(self.title, style="italic")
        for columns, widths in self._blocks(options.max_width):
            yield self._block(columns, widths)
        yield from (Text(note) for note in self.notes)

    def _blocks(self, width: int) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the columns of each block and their widths."""
        natural = [_widest_line(self._column(k)) for k in range(len(self.header))]
        least = [_least_width(self.header[k], self._column(k)[1:]) for k in range(len(natural))]
        labels = list(range(self.labels))
        for k in labels:
            least[k] = max(least[k], min(natural[k], width // (3 * self.labels)))
        block = list(labels)
        for k in range(self.labels, len(natural)):
            fits = _total(least[n] for n in [*block, k]) <= width
            if not fits and len(block) > self.labels:
                yield block, _widths(block, natural, least, width)
                block = list(labels)
            block.append(k)
        yield block, _widths(block, natural, least, width)

    def _column(self, k: int) -> list[str]:
        return [self.header[k], *(str(row[k]) for row in self.rows)]

    def _block(self, columns: Sequence[int], widths: Sequence[int]) -> Table:
        """Return some of the columns as a table."""
        block = Table()
        for k, width in zip(columns, widths, strict=True):
            is_number = any(NUMBER.fullmatch(cell) for cell in self._column(k)[1:])
            justify: Literal["right", "left"] = "right" if is_number and k > 0 else "left"
            block.add_column(Text(self.header[k]), width=width, justify=justify, overflow="fold")
        for row in self.rows:
            cells = (row[k] for k in columns)
            block.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
        return block


def _widest_line(texts: Sequence[str]) -> int:
    return max((cell_len(line) for text in texts for line in text.splitlines()), default=1)


def _least_width(heading: str, cells: Sequence[str]) -> int:
    """Return the width in which numbers and words are whole; only very long words are divided."""
    lines = [line for cell in cells for line in cell.splitlines()]
    numbers = [line for line in lines if NUMBER.fullmatch(line)]
    words = [word for text in (heading, *lines) for word in text.split()]
    return max(_widest_line(numbers), min(_widest_line(words), _LONGEST_WORD), 1)


def _total(widths: Iterable[int]) -> int:
    return 1 + sum(width + _FRAME for width in widths)


def _widths(
    block: Sequence[int], natural: Sequence[int], least: Sequence[int], width: int
) -> list[int]:
    """Return the widths of a block's columns: the least ones, and a share of what is left."""
    widths = {k: least[k] for k in block}
    left = width - _total(widths.values())
    while left > 0 and (narrow := [k for k in block if widths[k] < natural[k]]):
        for k in narrow[:left]:
            widths[k] += 1
            left -= 1
    if left < 0:  # a very narrow terminal: the names of the rows give way
        widths[block[0]] = max(4, widths[block[0]] + left)
    return list(widths.values())
