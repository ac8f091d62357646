"""`softseg ablate`: the runs of an ablation that are missing, read from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from softseg.ablation.run_one import Outcome
from softseg.report.report import show, write_report
from softseg.runs.plan_file import any_done


def conclude(outcomes: Sequence[Outcome], folder: Path, console: Console, *, report: bool) -> int:
    """Write the report of what is done and say what is not; returns the exit status."""
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    locked = sum(outcome.status == "locked" for outcome in outcomes)
    if failed:
        console.print(f"{failed} run(s) failed; mend what they tell and call again")
    if locked:
        console.print(f"{locked} run(s) are another process's; call again when it is done")
    if report and any_done(folder):
        show(write_report(folder), folder, console)
    return 1 if failed or locked else 0
