"""Progress of an ablation: a bar on a terminal, and a line for each run that ends."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from rich.console import Console

from softseg.ablation.plan import PlannedRun
from softseg.ablation.run_one import Outcome
from softseg.core.console import ProgressBar, whole_seconds
from softseg.runs.folder import Run


class AblationProgress(ProgressBar):
    """Counts completed runs and epochs, and estimates the maximum time left."""

    def __init__(self, console: Console, todo: Sequence[PlannedRun]) -> None:
        super().__init__(console, "runs", len(todo), "{task.fields[status]}", status="starting")
        self._count = len(todo)
        self._remaining = {planned.number: planned for planned in todo}
        self._began = time.perf_counter()
        self._epochs_at_start = self._epochs_left()

    def refresh(self) -> None:
        """Read how many epochs the runs have completed, and show the time left."""
        if self.console.is_terminal:
            self.update(status=self._status())

    def run_ended(self, planned: PlannedRun, outcome: Outcome) -> None:
        """Print how a run ended."""
        del self._remaining[planned.number]
        done = self._count - len(self._remaining)
        self.update(completed=done)
        if outcome.status == "done":
            result = _test_dice(planned.run)
        elif outcome.status == "failed":
            result = f"FAILED: {outcome.reason} (see {planned.run.log})"
        else:
            result = f"skipped: {outcome.reason}"
        line = f"{done}/{self._count} {planned.name}: {result} · {self._status()}"
        self.console.print(line, highlight=False, markup=False)

    def _status(self) -> str:
        """The epochs and the time left, or the time that all runs took."""
        seconds = time.perf_counter() - self._began
        if not self._remaining:
            return f"took {whole_seconds(seconds)}"
        left = self._epochs_left()
        done = self._epochs_at_start - left
        if done <= 0:
            return f"{left} epochs left at most"
        return f"{left} epochs, about {whole_seconds(seconds / done * left)} left at most"

    def _epochs_left(self) -> int:
        return sum(
            planned.experiment.trainer.max_epochs - completed_epochs(planned.run)
            for planned in self._remaining.values()
        )


def completed_epochs(run: Run) -> int:
    """Return how many epochs a run has completed, by the lines of its history.csv."""
    try:
        return max(0, (run.folder / "history.csv").read_bytes().count(b"\n") - 1)
    except OSError:
        return 0


def _test_dice(run: Run) -> str:
    """`gm test Dice 83.1 %` for each target of a run that is done."""
    summary = json.loads((run.folder / "summary.json").read_text())
    means = {target: metrics["dice"]["mean"] for target, metrics in summary.items()}
    return ", ".join(
        f"{target} test Dice " + ("undefined" if mean is None else f"{mean:.1f} %")
        for target, mean in means.items()
    )
