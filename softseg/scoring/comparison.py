"""The report of scored folders: tables, figures and statistics, as of an ablation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.core.files import write_json
from softseg.core.version import __version__
from softseg.render.page import Section
from softseg.report.report import Comparisons, score_sections, volume_sections, write_sections
from softseg.report.results import CandidateScores
from softseg.report.tables import left_out
from softseg.runs.folder import Run, timestamp
from softseg.runs.plan_file import RunStatus
from softseg.scoring.score import ScoredFolder
from softseg.scoring.truth import Truth


@dataclass(frozen=True)
class ScoredCandidate(RunStatus):
    """A folder of segmentations in place of a run; there was no training that could fail."""

    evaluate: dict[str, Any]

    @property
    def scored_evaluate(self) -> Any:
        """The section `evaluate` with which the segmentations were scored."""
        return self.evaluate

    @property
    def converged(self) -> bool:
        """True: nothing is known of a training."""
        return True


def candidate_scores(scored: Sequence[ScoredFolder], truth: Truth) -> CandidateScores:
    """Return the scores of the folders as those of candidates; the first is the reference."""
    evaluate = truth.evaluate.model_dump(mode="json")
    runs = tuple(
        ScoredCandidate(each.name, 0, Run(each.out), "done", "", pd.DataFrame(), evaluate)
        for each in scored
    )
    tables = [each.scores.table.assign(candidate=each.name, split=0) for each in scored]
    metrics = pd.concat(tables, ignore_index=True)
    return CandidateScores(truth.source, scored[0].name, "auto", runs, metrics)


def write_comparison(scored: Sequence[ScoredFolder], truth: Truth, out: Path) -> CandidateScores:
    """Write report.html, figures/, tables/ and score.json, the record of what was scored."""
    results = candidate_scores(scored, truth)
    warnings = [
        f"{each.name}: {len(each.problems)} problem(s), so some segmentations are not scored: "
        + "; ".join(each.problems)
        for each in scored
        if each.problems
    ]
    warnings += [
        f"{target}: {note}" for target in results.targets for note in left_out(results, target)
    ]
    context = {
        "truth": truth.source,
        **{each.name: str(each.folder) for each in scored},
        "targets": ", ".join(results.targets),
        "scored": timestamp(),
        "software": f"softseg {__version__}",
    }

    def sections(comparisons: Comparisons, figures: Path) -> Iterator[Section]:
        yield from score_sections(results, comparisons, figures)
        for target in results.targets:
            yield from volume_sections(results, target, figures)

    title = f"Scores of {', '.join(results.candidates)}"
    write_sections(results, out, title, context, warnings, sections)
    record = {
        **context,
        "evaluate": truth.evaluate.model_dump(mode="json"),
        "problems": {each.name: each.problems for each in scored},
    }
    write_json(out / "score.json", record)
    return results
