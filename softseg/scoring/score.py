"""Score the segmentations in a folder against a truth, and write the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track

from softseg.core.errors import UserError, combined_error
from softseg.core.files import check_new_folder, remove_leftovers, temporary_files
from softseg.core.names import distinct_names
from softseg.data import Subject
from softseg.data.sample import SubjectError, load_sample
from softseg.evaluation.score_tables import Scores, in_plane_mm, write_tables
from softseg.runs.data import center_column
from softseg.scoring.case_table import CaseTable
from softseg.scoring.paint import write_painted
from softseg.scoring.predictions import Predictions, find_predictions, read_predictions
from softseg.scoring.truth import Truth

SHOWN = 20
"""The number of problems on the screen."""


@dataclass(frozen=True)
class ScoreOptions:
    """How segmentations are read."""

    threshold: float | None = None
    """Of the binary scores of soft maps; None: the mask next to a soft map, or else 0.5."""
    codes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Target -> its codes in the label maps of the predictions."""
    resample: bool = False
    """Whether maps on other grids are interpolated at the voxels of the truth."""
    cases: CaseTable | None = None
    """Which segmentation is of which case; None: their names say it."""
    painted: bool = False
    """Whether maps of the true and false positives and of the false negatives are written."""


@dataclass(frozen=True)
class ScoredFolder:
    """The scores of the segmentations in a folder."""

    name: str
    """In tables, and of the folder of its own tables where several are compared."""
    folder: Path
    out: Path
    """Where its tables are."""
    scores: Scores
    problems: list[str]
    """What could not be scored, and why."""


def score_folders(
    folders: Sequence[Path], truth: Truth, out: Path, options: ScoreOptions, console: Console
) -> list[ScoredFolder]:
    """Score the segmentations in one folder, or in several, which are candidates.

    The tables are in `out`, or in a folder for each candidate in it. Raises UserError if nothing
    in a folder can be scored; nothing is written then.
    """
    check_new_folder(out)
    names = distinct_names(folders)
    # those of all folders are found before anything of one is written
    found = [
        _find(folder, name, out if len(names) == 1 else out / name, truth, options)
        for folder, name in zip(folders, names, strict=True)
    ]
    scored = [_score(folder, predictions, truth, options, console) for folder, predictions in found]
    for each in scored:
        each.out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(temporary_files(each.out, recursive=False))
        write_tables(each.out, each.scores)
    return scored


def _find(
    folder: Path, name: str, out: Path, truth: Truth, options: ScoreOptions
) -> tuple[ScoredFolder, Predictions]:
    """Return the segmentations in a folder that have a truth, and the folder without scores."""
    problems = list(truth.problems)
    predictions = find_predictions(folder, truth, problems, options.codes, options.cases)
    subjects = [truth.subjects[subject] for subject in predictions.files]
    group_by = truth.evaluate.metrics.group_by or center_column(subjects)
    return ScoredFolder(name, folder, out, Scores(group_by), problems), predictions


def _score(
    scored: ScoredFolder,
    predictions: Predictions,
    truth: Truth,
    options: ScoreOptions,
    console: Console,
) -> ScoredFolder:
    """Add the scores of all segmentations in a folder.

    Raises UserError if there are none that can be scored.
    """
    problems = scored.problems
    hidden, text = not console.is_terminal, f"scoring {scored.name}"
    for name in track(predictions.files, text, console=console, transient=True, disable=hidden):
        subject = truth.subjects[name]
        try:
            _score_subject(scored, subject, predictions, truth, options)
        except SubjectError as error:
            problems += [f"{subject.name}: {truth.advice(text)}" for text in error.problems]
        except UserError as error:
            problems += str(error).splitlines()
    problems[:] = dict.fromkeys(problems)
    if not scored.scores.rows:
        heading = f"{scored.folder}: no segmentation can be scored:"
        raise combined_error(heading, first_of(problems))
    return scored


def first_of(problems: Sequence[str]) -> list[str]:
    """Return as many problems as a screen has room for, and how many are left out."""
    left = len(problems) - SHOWN
    return [*problems[:SHOWN], *([f"and {left} more"] if left > 0 else [])]


def _score_subject(
    scored: ScoredFolder,
    subject: Subject,
    predictions: Predictions,
    truth: Truth,
    options: ScoreOptions,
) -> None:
    """Add the scores of all targets of a subject. Raises UserError if one cannot be scored."""
    sample = load_sample(subject, truth.dataset, every_rater=True)
    threshold, resample = options.threshold, options.resample
    segmented = read_predictions(
        predictions, subject.name, truth.targets, sample.grid, threshold, resample
    )
    plane_mm = in_plane_mm(sample.grid, truth.slice_axis)
    for k, (target, own) in enumerate(segmented.items()):
        true = sample.true_target(k, truth.slice_axis)
        evaluation = truth.evaluate.score(own.soft, own.mask, true)
        scored.scores.add(subject, target, plane_mm, evaluation, own.threshold)
        if options.painted:
            write_painted(scored.out / "painted", subject, target, own.mask, true)
