"""Check a dataset: find and divide its subjects, read every file once, report problems."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from softseg.check.file_checks import find_flat_scans, find_outliers, find_unusual_files
from softseg.check.findings import (
    CheckResult,
    FileSummary,
    Finding,
    Kind,
    VolumeSummary,
    sort_findings,
    summarize_mask,
    summarize_volume,
)
from softseg.check.output import pairs_frame
from softseg.check.split_checks import (
    find_duplicates,
    find_groups_in_several_sets,
    find_masks_given_as_none,
    find_targets_without_foreground,
    find_unusual_values,
)
from softseg.core.errors import UserError
from softseg.core.files import check_writable, write_atomically
from softseg.core.memory import memory_errors
from softseg.data import Dataset, DatasetError, Split
from softseg.data.loaders.base import DatasetFields
from softseg.data.masks import confidence_map, ignored_voxels, roi_mask, soft_mask
from softseg.data.nifti.checks import FileError
from softseg.data.nifti.io import read_dtype
from softseg.data.sample import SubjectError, SubjectReader, contrast_of_masks, load_sample
from softseg.data.splits import Sets
from softseg.data.subject import Frame, Subject
from softseg.preprocess.samples import Samples
from softseg.preprocess.slices import Slices
from softseg.preprocess.soften import soften_sample

FileRole = tuple[Path, Kind, str, str]  # file, its kind, contrast or target, rater
_AXIAL = Slices()
THREADS = min(os.cpu_count() or 1, 8)
"""Subjects in memory at a time."""


@memory_errors(
    "checking the dataset",
    "crop the largest files, or leave subjects out with dataset.exclude",
)
def check_dataset(
    dataset: Dataset,
    split: Split,
    seed: int,
    console: Console,
    pairs: Path | None = None,
    samples: Samples = _AXIAL,
) -> CheckResult:
    """Find, divide and check a dataset's subjects; write the table of pairs if there is a path.

    Files that are missing or bad and a split that is impossible are errors among the findings. Only
    a dataset without any subject raises UserError.
    """
    if pairs is not None:
        check_writable(pairs.parent)
    problems: list[Finding] = []
    sets = None
    try:
        subjects = dataset()
    except DatasetError as error:
        subjects = error.sound
        do = "fix it, or leave the subject out with dataset.exclude"
        for problem in error.problems:
            name, _, what = problem.partition(": ")
            problems.append(Finding("error", "missing or ambiguous file", what, do, name))
    else:
        problems += find_unusual_values(subjects, split)
        try:
            sets = split(subjects, seed)
        except UserError as error:
            do = "correct the section `split`"
            problems.append(Finding("error", "split", str(error), do))
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=len(subjects))
        allow_leak = split.allow_leak
        result = check_files(subjects, dataset, lambda: bar.advance(task), sets, allow_leak)
    problems += find_flat_scans(result.files, samples)
    if sets is not None:
        problems += find_groups_in_several_sets(subjects, split, sets)
    result = replace(result, findings=sort_findings([*result.findings, *problems]))
    if pairs is not None:
        pairs.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(pairs, pairs_frame(result).to_csv(index=False, lineterminator="\n"))
    return result


def check_files(
    subjects: Sequence[Subject],
    dataset: DatasetFields,
    advance: Callable[[], None] = lambda: None,
    sets: Sets | None = None,
    allow_leak: bool = False,
    threads: int = THREADS,
) -> CheckResult:
    """Read every file of the subjects once, `threads` subjects at a time; keep summaries only.

    `advance` is called after each subject. A file that training would reject is an error among the
    findings; all others are read regardless. With `sets`, the split is checked, too.
    """
    files: list[FileSummary] = []
    findings: list[Finding] = []
    with ThreadPoolExecutor(threads) as pool:  # unpacking and sums release the interpreter's lock
        for summaries, problems in pool.map(partial(_check_subject, dataset=dataset), subjects):
            files += summaries
            findings += problems
            advance()
    ignore = {subject.name: subject.ignore for subject in subjects}
    findings += [*find_unusual_files(files, dataset, ignore), *find_outliers(files)]
    findings += find_masks_given_as_none(list(dataset.targets), subjects)
    findings += find_duplicates(files, sets, allow_leak)
    if sets is not None:
        targets = list(dataset.targets)
        findings += find_targets_without_foreground(targets, files, subjects, sets)
    root = Path(dataset.root).expanduser()
    return CheckResult(root, tuple(subjects), sets, tuple(files), sort_findings(findings))


def _check_subject(
    subject: Subject, dataset: DatasetFields
) -> tuple[list[FileSummary], list[Finding]]:
    """Read every file of a subject once; return summaries of readable files, and the problems.

    The errors are those of `softseg.data.sample.load_sample`. A problem of a rater's mask that
    training would not read is a warning.
    """
    reader = SubjectReader(regrid=dataset.on_grid_mismatch == "resample")
    volumes: dict[tuple[Path, Frame | None], VolumeSummary] = {}
    files: list[FileSummary] = []
    findings = list(_unfit_raters(subject, dataset))
    for role in _file_roles(subject, dataset):
        path, kind, name, rater = role
        try:
            frame = subject.frames.get(name) if kind == "image" else None
            volume = reader.read(path, frame)
            if volume is None:
                continue
            key = path, frame
            if key not in volumes:
                assert reader.reference is not None  # that of the first file that could be read
                volumes[key] = summarize_volume(volume, reader.reference, read_dtype(path))
            files.append(FileSummary(subject.name, path, kind, name, rater, volumes[key], None))
            if kind == "image":
                continue
            if kind == "confidence":
                confidence_map(volume.data, path, name)
                continue
            if kind == "mask":
                target, ignore = dataset.targets[name], subject.ignore.get(name, ())
                mask = soft_mask(volume.data, path, name, target, ignore)
                ignored = int(ignored_voxels(volume.data, target, ignore).sum(dtype=np.int64))
            else:
                mask, ignored = roi_mask(volume.data), 0
            summary = summarize_mask(volume.data, mask, volume.grid.voxel_ml, ignored)
            files[-1] = replace(files[-1], mask=summary)
        except FileError as error:
            _, what, do = error.args
            finding = Finding("error", "rejected file", what, do, subject.name, path)
            if _is_unused(role, dataset):
                unused = "training does not read it: dataset.raters.fusion chooses another rater"
                of_unused, do = "rejected file of an unused rater", f"{do} ({unused})"
                finding = replace(finding, severity="warning", kind=of_unused, do=do)
            findings.append(finding)
    if not any(finding.severity == "error" for finding in findings):
        findings += _unfit_for_softening(subject, dataset)
    if advice := contrast_of_masks(subject, reader.mismatched):
        what, _, do = advice.partition("; ")
        findings = [finding for finding in findings if finding.path not in reader.mismatched]
        findings.append(Finding("error", "grid of another contrast", what, do, subject.name))
    return files, findings


def _unfit_for_softening(subject: Subject, dataset: DatasetFields) -> Iterator[Finding]:
    """Yield the masks that `targets.X.soften` cannot soften; they are read again for it."""
    if all(target.soften is None for target in dataset.targets.values()):
        return
    try:
        soften_sample(load_sample(subject, dataset), subject, dataset)
    except SubjectError as error:
        do = "change dataset.targets.X.soften, or leave the subject out with dataset.exclude"
        for problem in error.problems:
            what = problem.removeprefix(f"{subject.name}: ")
            yield Finding("error", "mask unfit for softening", what, do, subject.name)


def _unfit_raters(subject: Subject, dataset: DatasetFields) -> Iterator[Finding]:
    """Yield masks that cannot be fused: no mask, no chosen rater, all weights 0."""
    do = "correct dataset.raters, or leave the subject out with dataset.exclude"
    for target in dataset.targets:
        raters = subject.labels.get(target, {})
        try:
            if not raters:
                raise UserError(f"no mask of {target}")
            dataset.raters({rater: np.zeros((1, 1, 1), np.float32) for rater in raters})
        except UserError as error:
            yield Finding("error", "unfit raters", str(error), do, subject.name)


def _file_roles(subject: Subject, dataset: DatasetFields) -> list[FileRole]:
    """Return every file in the order of `load_sample`; files that training does not read are last.

    The order matters, as the first file that can be read is the reference of all others' grids.
    """
    roles: list[FileRole] = [
        (path, "image", contrast, "") for contrast, path in subject.images.items()
    ]
    roles += [
        (path, "mask", target, rater)
        for target in dataset.targets
        for rater, path in subject.labels.get(target, {}).items()
        if path is not None
    ]
    roles += [(path, "confidence", target, "") for target, path in subject.confidence.items()]
    if subject.roi is not None:
        roles.append((subject.roi, "roi", "", ""))
    return sorted(roles, key=lambda role: _is_unused(role, dataset))


def _is_unused(role: FileRole, dataset: DatasetFields) -> bool:
    """Return whether it is a mask by a rater whom `dataset.raters.fusion` does not choose."""
    _, kind, _, rater = role
    return kind == "mask" and dataset.raters.chosen not in (None, rater)
