"""What a person sees while an ablation runs: a bar on a terminal, a line for each run that ends."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from softseg.ablation.plan import PlannedRun
from softseg.ablation.run_one import Outcome
from softseg.runs.folder import Run


class Watch:
    """Counts runs and epochs, and says how much time is left at most."""

    def __init__(self, console: Console, todo: Sequence[PlannedRun]) -> None:
        self.console = console
        self._open = {one.number: one for one in todo}
        self._count = len(todo)
        self._began, self._before = time.perf_counter(), self._epochs_left()
        self._bar = Progress(
            TextColumn("runs"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[news]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=self._count, news="starting")

    def __enter__(self) -> Watch:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tick(self) -> None:
        """Look at how far the runs are."""
        if self.console.is_terminal:
            self._bar.update(self._task, news=self._news())

    def ended(self, planned: PlannedRun, outcome: Outcome) -> None:
        """Say how a run ended."""
        del self._open[planned.number]
        done = self._count - len(self._open)
        self._bar.update(self._task, completed=done)
        said = {
            "done": "" if outcome.status != "done" else _scores(planned.run),
            "failed": f"FAILED: {outcome.reason} (see {planned.run.log})",
            "locked": "left to the other process that is at it",
        }[outcome.status]
        line = f"{done}/{self._count} {planned.name}: {said} · {self._news()}"
        self.console.print(line, highlight=False, markup=False)

    def _news(self) -> str:
        left = self._epochs_left()
        if not self._open:
            return f"took {_rounded(time.perf_counter() - self._began)}"
        done = self._before - left
        if done <= 0:
            return f"{left} epochs left at most"
        seconds = (time.perf_counter() - self._began) / done * left
        return f"{left} epochs, about {_rounded(seconds)} left at most"

    def _epochs_left(self) -> int:
        return sum(
            one.experiment.trainer.max_epochs - epochs_of(one.run) for one in self._open.values()
        )


def epochs_of(run: Run) -> int:
    """How many epochs a run has completed, by its history.csv."""
    try:
        return max(0, (run.folder / "history.csv").read_bytes().count(b"\n") - 1)
    except OSError:
        return 0


def _scores(run: Run) -> str:
    summary = json.loads((run.folder / "summary.json").read_text())
    return ", ".join(
        f"{target} test Dice "
        + ("undefined" if metrics["dice"]["mean"] is None else f"{metrics['dice']['mean']:.1f} %")
        for target, metrics in summary.items()
    )


def _rounded(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))
