"""What `softseg score` prints: the means of each folder, the files written, and the problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from softseg.core.console import print_topics
from softseg.evaluation.score_tables import metrics_table, summarize_metrics, table_names
from softseg.scoring.score import ScoredFolder
from softseg.scoring.truth import Truth


def print_scores(scored: Sequence[ScoredFolder], truth: Truth, console: Console) -> None:
    """Print a table for each folder, the files written, and what could not be scored."""
    for each in scored:
        console.print(metrics_table(each.scores.table, f"{each.folder} against {truth.source}"))
    for each in scored:
        files = ", ".join(name for name in table_names() if (each.out / name).exists())
        console.print(f"{each.out}: {files}", highlight=False, markup=False)
    for each in scored:
        if each.problems:
            count = len(each.problems)
            heading = f"{each.folder}: {count} problem{'s' * (count > 1)}; the rest is scored:"
            print_topics(console, [heading, *(f"  - {problem}" for problem in each.problems)])


def as_json(scored: Sequence[ScoredFolder], truth: Truth) -> dict[str, Any]:
    """Return what `print_scores` prints, for programs.

    `truth`; `scores`: {name of the folder: {out: the folder of its tables, metrics: as
    `summarize_metrics`, problems: texts}}.
    """
    return {
        "truth": truth.source,
        "scores": {
            each.name: {
                "out": str(each.out),
                "metrics": summarize_metrics(each.scores.table),
                "problems": each.problems,
            }
            for each in scored
        },
    }
