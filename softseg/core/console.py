"""The console that commands print to, and its progress bar."""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:  # rich is slow to import, and every command comes through here
    from rich.console import Console


_LABEL = re.compile(r"\S+(?: \S+)?  +")  # of a topic, in columns of blanks
PIPE_WIDTH = 80
"""Columns of a table where there is no terminal; lines of text do not wrap there."""


def open_console(quiet: bool = False, to_stderr: bool = False) -> Console:
    """Return a console for standard output, or a silent one; its lines do not wrap in a pipe.

    With `to_stderr`, it writes to standard error, as standard output then holds JSON only.
    """
    from rich.console import Console

    if quiet or (sys.stderr if to_stderr else sys.stdout).isatty():
        return Console(quiet=quiet, stderr=to_stderr)
    return Console(soft_wrap=True, width=PIPE_WIDTH, stderr=to_stderr)


def print_topics(console: Console, lines: Iterable[str]) -> None:
    """Print lines that wrap below their text, which begins after the label `data      `.

    In a pipe every line stays whole.
    """
    for line in lines:
        label = _LABEL.match(line)
        text = line
        if console.is_terminal:
            text = textwrap.fill(
                line,
                console.width,
                subsequent_indent=" " * (label.end() if label else 4),
                break_long_words=False,
                break_on_hyphens=False,
            )
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_json(content: Any) -> None:
    """Print JSON to standard output; NaN and infinity, which JSON does not have, become null."""
    print(json.dumps(_without_nan(content), indent=2))


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


class ProgressBar:
    """Counts completed units on a terminal and disappears at the end; invisible elsewhere.

    `text` is a rich format string over `fields`, e.g. "{task.fields[news]}".
    """

    def __init__(
        self,
        console: Console,
        unit: str,
        total: int,
        text: str,
        *,
        completed: int = 0,
        width: int = 20,
        **fields: Any,
    ) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.console = console
        self._progress = Progress(
            TextColumn(unit),
            MofNCompleteColumn(),
            BarColumn(bar_width=width),
            TextColumn(text),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total, completed=completed, **fields)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, **changes: Any) -> None:
        """Set the number of completed units or some of the fields."""
        self._progress.update(self._task, **changes)


def whole_seconds(seconds: float) -> timedelta:
    """A duration that prints as `0:01:30`."""
    return timedelta(seconds=round(seconds))
