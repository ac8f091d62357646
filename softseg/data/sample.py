"""One subject, read, checked and fused: native arrays, every mask float32 in [0, 1]."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from softseg.core.errors import UserError
from softseg.core.types import Float32Array
from softseg.data.loaders.base import DatasetFields
from softseg.data.nifti.grid import Grid
from softseg.data.subject import Subject
from softseg.data.subject_reader import SubjectReader

Counts = tuple[int, int]  # (soft voxels, voxels above 0)


class SubjectError(UserError):
    """A subject that cannot be used: `problems` holds everything that is wrong with its files."""

    def __init__(self, subject: str, problems: list[str]) -> None:
        super().__init__(subject, problems)  # as args, so that it survives pickling
        self.problems = problems

    def __str__(self) -> str:
        subject, problems = self.args
        lines = "".join(f"\n  - {problem}" for problem in problems)
        return f"subject {subject} cannot be used:{lines}"


@dataclass
class Sample:
    """One subject on its native grid."""

    image: Float32Array
    """(C, X, Y, Z) float32, contrasts in the config's order, in the files' own units."""
    target: Float32Array
    """(K, X, Y, Z) float32 in [0, 1], soft where the masks are; K = 0 without labels."""
    roi: Float32Array | None
    """(X, Y, Z) float32 in [0, 1], or None if the data set has no ROI."""
    raters: tuple[dict[str, Float32Array], ...]
    """For each target rater -> mask (X, Y, Z) in [0, 1]; if one rater is chosen, only that rater
    unless all were requested."""
    grid: Grid
    soft: dict[str, tuple[int, int]]
    """Stage (`files`: masks as read; `raters`: fused) -> (voxels strictly between 0 and 1, voxels
    above 0), summed over targets and, for `files`, over raters."""


def load_sample(
    subject: Subject,
    dataset: DatasetFields,
    labels: bool = True,
    every_rater: bool = False,
    frame: int | None = None,
) -> Sample:
    """Read a subject's images and ROI, and its masks if `labels`; check that they fit together.

    `every_rater` reads the masks of all raters even if one is chosen; of a 4D file the frame of
    index `frame` is read.

    Raises `SubjectError` with every problem of the subject: files that cannot be read, contrasts or
    masks that are not on the first contrast's grid (unless `on_grid_mismatch` resamples them),
    mask values outside [0, 1] if no codes were chosen, a rater without a mask.
    """
    reader = SubjectReader(regrid=dataset.on_grid_mismatch == "resample", frame=frame)
    images = [reader.image(path) for path in subject.images.values()]
    masks = _read_masks(reader, subject, dataset, every_rater) if labels else []
    roi = None if subject.roi is None else reader.image(subject.roi, mask=True)
    sound = [image for image in images if image is not None]
    if reader.problems or reader.reference is None:
        raise SubjectError(subject.name, reader.problems)
    grid = reader.reference.grid
    fused = [dataset.raters(raters) for raters in masks]
    return Sample(
        image=np.stack(sound),
        target=np.stack(fused) if fused else np.zeros((0, *grid.shape), np.float32),
        # an ROI may have any codes: all that is above 0 is inside
        roi=None if roi is None else np.clip(roi, 0, 1),
        raters=tuple(masks),
        grid=grid,
        soft={
            "files": count_soft(mask for raters in masks for mask in raters.values()),
            "raters": count_soft(fused),
        },
    )


def _read_masks(
    reader: SubjectReader, subject: Subject, dataset: DatasetFields, every_rater: bool
) -> list[dict[str, Float32Array]]:
    """Return rater -> mask for each target; only the chosen rater unless `every_rater`."""
    masks = []
    for name, target in dataset.targets.items():
        files = subject.labels.get(name, {})
        wrong = dataset.raters.chosen_rater_problem(files) if files else f"no mask of {name}"
        if wrong:
            reader.problems.append(f"{subject.name}: {wrong}")
        chosen = None if every_rater else dataset.raters.chosen
        used = {rater: path for rater, path in files.items() if chosen in (None, rater)}
        masks.append(reader.masks(used, name, target))
    return masks


def count_soft(masks: Iterable[Float32Array]) -> Counts:
    """Return how many voxels are soft, and how many are above 0, both beyond rounding (1e-4)."""
    soft = positive = 0
    for mask in masks:
        soft += int(((mask > 1e-4) & (mask < 1 - 1e-4)).sum())
        positive += int((mask > 1e-4).sum())
    return soft, positive


def digest_of(voxels: Float32Array) -> str:
    """Return a digest of shape and voxels, independent of a file's name, type and compression."""
    digest = hashlib.blake2b(str(voxels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(voxels + np.float32(0)).data)  # + 0: -0 and 0 are the same
    return digest.hexdigest()
