"""What `softseg score` prints: the means of each folder, the files written, and the problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from softseg.core.console import print_topics
from softseg.evaluation.score_tables import metrics_table, summarize_metrics, table_names
from softseg.render.text_table import to_terminal
from softseg.report.results import CandidateScores
from softseg.report.tables import compare_candidates, means_table
from softseg.scoring.score import ScoredFolder, first_of
from softseg.scoring.truth import Truth


def print_scores(
    scored: Sequence[ScoredFolder],
    truth: Truth,
    results: CandidateScores,
    out: Path,
    console: Console,
) -> None:
    """Print the scores of a folder, or those of several side by side; the files; the problems."""
    if len(scored) == 1:
        title = f"{scored[0].folder} against {truth.source}"
        console.print(metrics_table(scored[0].scores.table, title))
    else:
        for target in results.targets:
            comparisons = compare_candidates(results, target, "subject")
            console.print(to_terminal(means_table(results, target, "subject", comparisons)))
    for each in scored:
        names = [name for name in (*table_names(), "painted/") if (each.out / name).exists()]
        files = ", ".join(names)
        console.print(f"{each.out}: {files}", highlight=False, markup=False)
    console.print(
        f"{out}: report.html, score.json, tables/, figures/", highlight=False, markup=False
    )
    for each in scored:
        if each.problems:
            count = len(each.problems)
            heading = f"{each.folder}: {count} problem{'s' * (count > 1)}; the rest is scored:"
            print_topics(console, [heading, *map("  - {}".format, first_of(each.problems))])


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
