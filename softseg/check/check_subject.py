"""Read one subject's files once, check them as training does, and keep summaries of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from softseg.check.findings import Finding
from softseg.check.summaries import (
    FileSummary,
    Kind,
    MaskSummary,
    VolumeSummary,
    summarize_mask,
    summarize_volume,
)
from softseg.core.errors import UserError
from softseg.data.loaders.base import DatasetFields
from softseg.data.nifti.io import FileError, Volume, read_dtype
from softseg.data.subject import Subject
from softseg.data.subject_reader import SubjectReader, soft_mask


@dataclass(frozen=True)
class _FileRole:
    """A file of the subject and its role."""

    path: Path
    kind: Kind
    name: str = ""
    rater: str = ""
    is_used: bool = True
    """False for a mask by a rater whom `dataset.raters.fusion` does not choose."""


def check_subject(
    subject: Subject, dataset: DatasetFields
) -> tuple[list[FileSummary], list[Finding]]:
    """Read every file of a subject once; return summaries of readable files, and the problems.

    The errors are those of `softseg.data.sample.load_sample`. A problem of a rater's mask that
    training would not read is a warning.
    """
    reader = SubjectReader(regrid=dataset.on_grid_mismatch == "resample")
    volumes: dict[Path, VolumeSummary] = {}
    files: list[FileSummary] = []
    findings = list(_unfit_raters(subject, dataset))
    for role in _file_roles(subject, dataset):
        path = role.path
        try:
            volume = _read_volume(reader, path)
            if volume is None:
                continue
            if path not in volumes:
                assert reader.reference is not None  # the first file that could be read
                volumes[path] = summarize_volume(volume, reader.reference.grid, read_dtype(path))
            files.append(
                FileSummary(
                    subject.name, path, role.kind, role.name, role.rater, volumes[path], None
                )
            )
            if role.kind != "image":
                files[-1] = replace(files[-1], mask=_summarize_mask(role, volume, dataset))
        except FileError as error:
            _, what, do = error.args
            finding = Finding("error", "rejected file", what, do, subject.name, path)
            if not role.is_used:
                unused = "training does not read it: dataset.raters.fusion chooses another rater"
                kind, do = "rejected file of an unused rater", f"{do} ({unused})"
                finding = replace(finding, severity="warning", kind=kind, do=do)
            findings.append(finding)
    return files, findings


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


def _file_roles(subject: Subject, dataset: DatasetFields) -> list[_FileRole]:
    """Return every file in the order of `load_sample`; files that training does not read are last.

    The order matters, as the first file that can be read is the reference of all others' grids.
    """
    chosen = dataset.raters.chosen
    roles = [_FileRole(path, "image", contrast) for contrast, path in subject.images.items()]
    roles += [
        _FileRole(path, "mask", target, rater, chosen is None or rater == chosen)
        for target in dataset.targets
        for rater, path in subject.labels.get(target, {}).items()
    ]
    if subject.roi is not None:
        roles.append(_FileRole(subject.roi, "roi"))
    return sorted(roles, key=lambda role: not role.is_used)


def _read_volume(reader: SubjectReader, path: Path) -> Volume | None:
    """Return the volume, or None if it was rejected before. Raises FileError the first time."""
    count = len(reader.problems)
    volume = reader.volume(path)
    for problem in reader.problems[count:]:
        what, _, do = problem.removeprefix(f"{path}: ").rpartition("; ")
        raise FileError(path, what, do)
    return volume


def _summarize_mask(role: _FileRole, volume: Volume, dataset: DatasetFields) -> MaskSummary:
    """Return the summary of a mask or ROI. Raises FileError for values that are not a mask."""
    if role.kind == "roi":
        mask = np.clip(volume.data, 0, 1)
    else:
        values = dataset.targets[role.name].values
        mask = soft_mask(role.path, volume.data, role.name, values)
    return summarize_mask(volume.data, mask, volume.grid.voxel_ml)
