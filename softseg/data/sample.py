"""One subject, read, checked and fused: native arrays, every mask float32 in [0, 1]."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from softseg.core.errors import UserError
from softseg.core.types import BoolArray, Float32Array
from softseg.data.fill import Fill, background_value, round_bits
from softseg.data.loaders.base import DatasetFields
from softseg.data.masks import (
    TOLERANCE,
    Counts,
    confidence_map,
    count_soft,
    ignored_voxels,
    roi_mask,
    soft_mask,
)
from softseg.data.nifti.checks import FileError
from softseg.data.nifti.grid import (
    Grid,
    corner_distance,
    may_overlap,
    regrid,
    same_place,
    voxels_of,
)
from softseg.data.nifti.io import Volume, read_volume
from softseg.data.subject import Frame, Subject
from softseg.metrics import without_ignored
from softseg.metrics.score import TrueTarget

_RESAMPLE = "resample it onto that image's grid, or let dataset.on_grid_mismatch: resample do so"


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
    """(X, Y, Z) float32 in [0, 1], or None if the dataset has no ROI."""
    raters: tuple[dict[str, Float32Array], ...]
    """One dict per target: rater -> mask (X, Y, Z) in [0, 1]; if one rater is chosen, only that
    rater unless all were requested."""
    grid: Grid
    soft: dict[str, Counts]
    """Stage (`files`: masks as read; `raters`: fused) -> (voxels strictly between 0 and 1, voxels
    above 0), summed over targets and, for `files`, over raters."""
    fill: tuple[float, ...] = ()
    """The raw value outside of each contrast; by default near the minimum of each."""
    ignore: BoolArray | None = None
    """(K, X, Y, Z), the voxels whose truth is unknown, where `target` and all raters' masks are 0;
    None if no target of the dataset has codes to ignore."""
    truth: Float32Array | None = None
    """(K, X, Y, Z), the masks of the files, where `target` and `raters` are softened for training;
    None: they are not."""
    weight: Float32Array | None = None
    """(K, X, Y, Z) in [0, 1], how much a voxel counts in the loss of each target: its confidence;
    None if no target has a map of it, and unless it was requested."""

    def __post_init__(self) -> None:
        self.fill = self.fill or tuple(map(background_value, self.image))

    def ignored(self, k: int) -> BoolArray | None:
        """Return the voxels (X, Y, Z) of one target that do not count; None if all do."""
        return None if self.ignore is None else self.ignore[k]

    def true_target(self, k: int, slice_axis: int) -> TrueTarget:
        """Return what predictions of target number `k` are scored against.

        `slice_axis` is the canonical axis along which the model slices volumes.
        """
        raters = self.raters[k] if len(self.raters[k]) > 1 else {}
        voxels = voxels_of(self.grid, slice_axis)
        return TrueTarget(self.target[k], voxels, raters, self.ignored(k))


def load_sample(
    subject: Subject,
    dataset: DatasetFields,
    labels: bool = True,
    every_rater: bool = False,
    frame: int | None = None,
    confidence: bool = False,
) -> Sample:
    """Read a subject's images and ROI, and its masks if `labels`; check that they fit together.

    `every_rater` reads the masks of all raters even if one is chosen; of a 4D file the frame of
    index `frame` is read. `confidence` also reads the maps of confidence, which only training
    needs, and ignores voxels of confidence 0.

    Raises `SubjectError` with every problem of the subject: files that cannot be read, contrasts or
    masks that are not on the first contrast's grid (unless `on_grid_mismatch` resamples them),
    mask values that the keys of their target do not allow, a rater without a mask.
    """
    reader = SubjectReader(regrid=dataset.on_grid_mismatch == "resample", frame=frame)
    fills = [dataset.fill_of(contrast) for contrast in subject.images]
    images = [
        reader.on_reference(path, fill=fill, frame=subject.frames.get(contrast))
        for (contrast, path), fill in zip(subject.images.items(), fills, strict=True)
    ]
    masks = _read_masks(reader, subject, dataset, every_rater) if labels else []
    weights = _read_weights(reader, subject) if labels and confidence else {}
    roi = None if subject.roi is None else reader.on_reference(subject.roi, roi_mask)
    sound = [image for image in images if image is not None]
    if reader.problems or reader.reference is None:
        problems = reader.problems
        if advice := contrast_of_masks(subject, reader.mismatched):
            # resampled onto the first contrast, the truth would lose detail
            mismatched = tuple(f"{path}: " for path in reader.mismatched)
            others = [problem for problem in problems if not problem.startswith(mismatched)]
            problems = [
                f"dataset.contrasts: {advice} (softseg data check lists the subjects)",
                *others,
            ]
        raise SubjectError(subject.name, problems)
    weight = _stack_weights(weights, dataset.targets, reader.reference) if weights else None
    ignore = _ignored_voxels(reader, subject, dataset, masks, weight)
    if ignore is not None:
        masks = [
            {rater: without_ignored(mask, ignored) for rater, mask in raters.items()}
            for raters, ignored in zip(masks, ignore, strict=True)
        ]
    fused = [dataset.raters(raters) for raters in masks]
    if ignore is not None:  # STAPLE estimates a probability above 0 for these voxels, too
        fused = [without_ignored(*pair) for pair in zip(fused, ignore, strict=True)]
    return Sample(
        image=np.stack(sound),
        target=np.stack(fused) if fused else np.zeros((0, *reader.reference.shape), np.float32),
        roi=roi,
        raters=tuple(masks),
        grid=reader.reference,
        soft={
            "files": count_soft(mask for raters in masks for mask in raters.values()),
            "raters": count_soft(fused),
        },
        fill=tuple(background_value(*pair) for pair in zip(sound, fills, strict=True)),
        ignore=ignore,
        weight=weight,
    )


def contrast_of_masks(subject: Subject, mismatched: Mapping[Path, Grid]) -> str | None:
    """Return which contrast should be the first, if all masks are on the grid of another one.

    `mismatched` holds the grids of the files that are not on that of the first contrast.
    """
    masks = [path for raters in subject.labels.values() for path in raters.values() if path]
    if not masks or not mismatched.keys() >= set(masks):
        return None
    first = next(iter(subject.images))
    for contrast, path in subject.images.items():
        grid = mismatched.get(path)
        if grid and all(same_place(mismatched[mask], grid) for mask in masks):
            order = ", ".join([contrast, *(name for name in subject.images if name != contrast)])
            return (
                f"masks are on the grid of {contrast}, not on that of "
                f"{first}; the first contrast sets the grid: put {contrast} first "
                f"(contrasts: [{order}])"
            )
    return None


def _read_masks(
    reader: SubjectReader, subject: Subject, dataset: DatasetFields, every_rater: bool
) -> list[dict[str, Float32Array]]:
    """Return rater -> mask for each target; only the chosen rater unless `every_rater`.

    Masks with a problem are left out.
    """
    masks = []
    chosen = None if every_rater else dataset.raters.chosen
    for name, target in dataset.targets.items():
        files = subject.labels.get(name, {})
        wrong = dataset.raters.chosen_rater_problem(files) if files else f"no mask of {name}"
        if wrong:
            reader.problems.append(f"{subject.name}: {wrong}")
        codes = subject.ignore.get(name, ())
        by_rater = {}
        for rater, path in files.items():
            if chosen in (None, rater):
                if path is None:
                    if reader.reference is not None:
                        by_rater[rater] = np.zeros(reader.reference.shape, np.float32)
                    continue
                to_mask = partial(soft_mask, path=path, name=name, target=target, ignore=codes)
                mask = reader.on_reference(path, to_mask)
                if mask is not None:
                    by_rater[rater] = mask
        masks.append(by_rater)
    return masks


def _ignored_voxels(
    reader: SubjectReader,
    subject: Subject,
    dataset: DatasetFields,
    masks: Sequence[Mapping[str, Float32Array]],
    weight: Float32Array | None,
) -> BoolArray | None:
    """Return the voxels (K, X, Y, Z) to ignore, by a code or of weight 0; None without either."""
    ignore = None
    if masks and subject.ignore:
        names = zip(dataset.targets, masks, strict=True)
        ignore = np.stack([_read_ignored(reader, subject, dataset, *pair) for pair in names])
    if weight is not None and not weight.all():
        ignore = weight <= 0 if ignore is None else ignore | (weight <= 0)
    return ignore


def _read_ignored(
    reader: SubjectReader,
    subject: Subject,
    dataset: DatasetFields,
    name: str,
    raters: Iterable[str],
) -> BoolArray:
    """Return the voxels (X, Y, Z) of target `name` that one of these raters ignored.

    What one ignored is ignored for all of them, so that they are compared on the same voxels. Where
    a mask is resampled, every voxel to which an ignored one contributes is ignored.
    """
    assert reader.reference is not None  # that of the first file that could be read
    ignored = np.zeros(reader.reference.shape, dtype=bool)
    target, codes = dataset.targets[name], subject.ignore.get(name, ())
    for rater in raters if codes else ():
        to_ignored = partial(ignored_voxels, target=target, codes=codes)
        path = subject.labels[name][rater]
        voxels = None if path is None else reader.on_reference(path, to_ignored)
        if voxels is not None:
            ignored |= voxels > TOLERANCE
    return ignored


def _read_weights(reader: SubjectReader, subject: Subject) -> dict[str, Float32Array]:
    """Return target -> how much its voxels (X, Y, Z) count in the loss, for targets with a map.

    Where a map is resampled, every voxel to which one of confidence 0 contributes has 0, as it has
    a part of a truth that is not known. Outside of its own grid, a map is 1. Maps with a problem
    are left out.
    """
    weights = {}
    for name, path in subject.confidence.items():
        to_map = partial(confidence_map, path=path, name=name)
        weight = reader.on_reference(path, to_map, fill=1.0)
        if weight is not None:
            unknown = reader.on_reference(path, lambda data: np.asarray(data <= 0, np.float32))
            assert unknown is not None  # read before
            weights[name] = np.where(unknown > TOLERANCE, np.float32(0), np.clip(weight, 0, 1))
    return weights


def _stack_weights(
    weights: Mapping[str, Float32Array], targets: Iterable[str], grid: Grid
) -> Float32Array:
    """Return the weights (K, X, Y, Z) of all targets, 1 for those without a map."""
    full = np.ones(grid.shape, np.float32)
    return np.stack([weights.get(name, full) for name in targets])


@dataclass
class SubjectReader:
    """Reads each file once, notes every problem, and compares grids with the first image's.

    With `regrid`, volumes on another grid are resampled onto that of the first image.
    """

    regrid: bool = False
    frame: int | None = None  # index of the frame, for 4D files
    problems: list[str] = field(default_factory=list)
    reference: Grid | None = None
    mismatched: dict[Path, Grid] = field(default_factory=dict)
    """The grids of files that were rejected because they are not on the first image's grid."""
    _reference_path: Path = Path()
    _reference_unit: str = "mm"
    _volumes: dict[tuple[Path, Frame | None], Volume | None] = field(default_factory=dict)

    def on_reference(
        self,
        path: Path,
        to_mask: Callable[[Float32Array], Float32Array] | None = None,
        fill: Fill | None = None,
        frame: Frame | None = None,
    ) -> Float32Array | None:
        """Return an image or a mask on the reference grid; None after a problem.

        Outside of its own grid, a mask is 0 and an image has the value that `fill` chooses.
        """
        try:
            volume = self.read(path, frame)
            if volume is None:
                return None
            # codes are chosen before resampling: values between two codes mean nothing
            data = volume.data if to_mask is None else to_mask(volume.data)
        except FileError as error:
            self.problems.append(str(error))
            return None
        assert self.reference is not None  # that of the first file that could be read
        if same_place(volume.grid, self.reference):
            return data
        if fill is None:
            return regrid(data, volume.grid, self.reference)
        outside = np.float32(background_value(data, fill))
        return round_bits(regrid(data - outside, volume.grid, self.reference)) + outside

    def read(self, path: Path, frame: Frame | None = None) -> Volume | None:
        """Return a volume on its own grid; None if the file was rejected before.

        `frame` is the volume of a file that holds several contrasts.

        Raises FileError, the first time, for a bad file and for a grid that does not fit that of
        the first image.
        """
        key = path, frame
        if key in self._volumes:
            return self._volumes[key]
        self._volumes[key] = None
        if frame is None:
            volume = read_volume(path, self.frame)
        else:
            volume = read_volume(path, frame.index, frame.count)
        if self.reference is None:
            self.reference, self._reference_path = volume.grid, path
            self._reference_unit = volume.unit
        grid, reference = volume.grid, self.reference
        if not self.regrid and not same_place(grid, reference):
            self.mismatched[path] = grid
        if self.regrid:
            if not may_overlap(grid, reference):
                wrong = f"does not overlap {self._reference_path}"
                fix = "fix its affine, or check that it is the right file"
                raise FileError(path, wrong, f"{self._unit_hint(volume)}{fix}")
        elif grid.shape != reference.shape:
            wrong = f"has the shape {grid.shape}, but {self._reference_path} has {reference.shape}"
            raise FileError(path, wrong, _RESAMPLE)
        elif not same_place(grid, reference):
            distance = corner_distance(grid, reference)
            wrong = f"is up to {distance:.3g} mm away from {self._reference_path}"
            fix = f"fix its affine, or {_RESAMPLE}"
            raise FileError(path, wrong, f"{self._unit_hint(volume)}{fix}")
        self._volumes[key] = volume
        return volume

    def _unit_hint(self, volume: Volume) -> str:
        """Return the units of a volume and of the first image, if one of them may be wrong."""
        if volume.unit == self._reference_unit:
            return ""
        units = f"the unit of its header is {volume.unit}, that of the other {self._reference_unit}"
        return f"{units}: correct the one that is wrong (xyzt_units), "


def digest_of(voxels: Float32Array) -> str:
    """Return a digest of shape and voxels, independent of a file's name, type and compression."""
    digest = hashlib.blake2b(str(voxels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(voxels + np.float32(0)).data)  # + 0: -0 and 0 are the same
    return digest.hexdigest()
