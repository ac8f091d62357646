"""One subject's files read once, judged as training judges them, and reduced to facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from softseg.check.findings import Finding, refused
from softseg.check.volume_statistics import Content, FileFacts, Kind, content_of, mask_facts
from softseg.core.errors import UserError
from softseg.data.loaders.base import DatasetFields
from softseg.data.nifti import io as nifti
from softseg.data.nifti.file_error import FileError
from softseg.data.nifti.io import Volume
from softseg.data.subject import Subject
from softseg.data.subject_reader import SubjectReader, soft_mask


@dataclass(frozen=True)
class _Role:
    """A file of the subject and what it is there for."""

    path: Path
    kind: Kind
    name: str = ""
    rater: str = ""
    is_used: bool = True
    """False for a mask by a rater whom `dataset.raters.fusion` does not choose."""


def read_subject(subject: Subject, dataset: DatasetFields) -> tuple[list[FileFacts], list[Finding]]:
    """Read every file of a subject once; the facts of those that can be read, and the problems.

    The errors are those of `softseg.data.load.load`. What is wrong with a rater's mask that
    training would not read is a warning.
    """
    reader = SubjectReader(regrid=dataset.on_grid_mismatch == "resample")
    contents: dict[Path, Content] = {}
    files, findings = [], list(_unfit_raters(subject, dataset))
    for role in _roles(subject, dataset):
        try:
            volume = _placed(reader, role.path)
            if volume is not None:
                if role.path not in contents:
                    contents[role.path] = _content(role.path, volume, reader)
                files.append(_facts(subject, role, contents[role.path]))
                files[-1] = _with_mask(files[-1], volume, dataset)
        except FileError as error:
            findings.append(_judged(role, refused(subject.name, error)))
    return files, findings


def _roles(subject: Subject, dataset: DatasetFields) -> list[_Role]:
    """Every file, in the order of `load`; what training does not read comes last."""
    chosen = dataset.raters.chosen
    roles = [_Role(path, "image", contrast) for contrast, path in subject.images.items()]
    roles += [
        _Role(path, "mask", target, rater, chosen is None or rater == chosen)
        for target in dataset.targets
        for rater, path in subject.labels.get(target, {}).items()
    ]
    roles += [] if subject.roi is None else [_Role(subject.roi, "roi")]
    return sorted(roles, key=lambda role: not role.is_used)


def _unfit_raters(subject: Subject, dataset: DatasetFields) -> Iterator[Finding]:
    """Masks that cannot be fused: nothing to fuse, the chosen rater absent, all weights 0."""
    do = "correct dataset.raters, or leave the subject out with dataset.exclude"
    for target in dataset.targets:
        raters = subject.labels.get(target, {})
        try:
            if not raters:
                raise UserError(f"no mask of {target}")
            dataset.raters({rater: np.zeros((1, 1, 1), np.float32) for rater in raters})
        except UserError as error:
            yield Finding("error", "unfit raters", str(error), do, subject.name)


def _placed(reader: SubjectReader, path: Path) -> Volume | None:
    """The file, if it can be used; None if it was refused before. Raises FileError."""
    known = len(reader.problems)
    volume = reader.volume(path)
    for problem in reader.problems[known:]:
        what, _, do = problem.removeprefix(f"{path}: ").rpartition("; ")
        raise FileError(path, what, do)
    return volume


def _content(path: Path, volume: Volume, reader: SubjectReader) -> Content:
    assert reader.reference is not None  # the first file that could be read
    return content_of(volume, reader.reference.grid, nifti.read_dtype(path))


def _facts(subject: Subject, role: _Role, content: Content) -> FileFacts:
    return FileFacts(subject.name, role.path, role.kind, role.name, role.rater, content, None)


def _with_mask(facts: FileFacts, volume: Volume, dataset: DatasetFields) -> FileFacts:
    """The same with what a mask or ROI says. Raises FileError for values that are no mask."""
    if facts.kind == "image":
        return facts
    if facts.kind == "roi":
        mask = np.clip(volume.data, 0, 1)
    else:
        values = dataset.targets[facts.name].values
        mask = soft_mask(facts.path, volume.data, facts.name, values)
    return replace(facts, mask=mask_facts(volume.data, mask, volume.grid.voxel_ml))


def _judged(role: _Role, finding: Finding) -> Finding:
    if role.is_used:
        return finding
    do = f"{finding.do} (training does not read it: dataset.raters.fusion chooses another rater)"
    return replace(finding, severity="warning", kind="refused file of an unused rater", do=do)
