"""The console that commands print to, and its progress bar."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:  # rich is slow to import, and every command comes through here
    from rich.console import Console


def open_console(quiet: bool = False) -> Console:
    """Return a console for standard output, or a silent one; its lines do not wrap in a pipe."""
    from rich.console import Console

    if quiet or sys.stdout.isatty():
        return Console(quiet=quiet)
    return Console(soft_wrap=True, width=160)  # a pipe has no width of its own


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
