"""Files that are unusual by themselves or among the files of the other subjects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isnan
from pathlib import Path

import numpy as np

from softseg.check.findings import (
    FileSummary,
    Finding,
    MaskSummary,
    VolumeSummary,
    format_shape,
    format_zooms,
)
from softseg.core.types import BoolArray, Float64Array
from softseg.data.loaders.base import DatasetFields, Target
from softseg.data.masks import ROUNDING, TOLERANCE, format_values
from softseg.preprocess.samples import Samples
from softseg.preprocess.slices import Slices

ALIGNED_MM = 1e-3
"""Files that are at most this far from the first contrast are on the same grid."""


def find_unusual_files(
    files: Sequence[FileSummary],
    dataset: DatasetFields,
    ignore: Mapping[str, Mapping[str, Sequence[float]]],
) -> Iterator[Finding]:
    """Yield unusual values of images and masks, files on another grid, and codes of no target.

    `ignore` holds, for each subject and target, the codes of voxels to ignore.
    """
    for file in files:
        if file.kind == "image" and file.volume.is_constant:
            what = f"every voxel is {file.volume.min:g}"
            do = "convert it again from its source, or leave the subject out with dataset.exclude"
            yield Finding("warning", "constant image", what, do, file.subject, file.path)
        if file.kind == "confidence" and file.volume.max <= 0:
            what = f"is 0 everywhere, so no voxel of {file.name} counts in the loss"
            do = "correct the map, or leave the subject out with dataset.exclude"
            yield Finding("warning", "confidence of 0", what, do, file.subject, file.path)
        if file.mask is not None and file.mask.empty:
            structure = file.name or "the region of interest"
            do = "check that there is none in this scan"
            if file.kind == "roi":
                do = "draw it, or leave the subject out with dataset.exclude"
            values = [value for value in file.mask.values if value]
            others = f", but the values {format_values(values)}" if values else ""
            what = f"holds no voxel of {structure}{others}"
            yield Finding("warning", "empty mask", what, do, file.subject, file.path)
    resamples = dataset.on_grid_mismatch == "resample"
    for file in {file.path: file for file in files}.values():
        distance = file.volume.away_mm
        what = f"is up to {distance:.2g} mm away from the first contrast"
        if isnan(distance):
            shape = format_shape(file.volume.shape)
            what = f"has the shape {shape}, which is not that of the first contrast"
        if not distance <= ALIGNED_MM:
            do = "nothing, if both show the same place: their voxels are taken as the same"
            if resamples:
                do = "nothing, if both show the same place: training resamples it"
            contrast = _contrast_on_the_same_grid(file, files)
            if resamples and file.kind == "mask" and contrast:
                what += f", but on the grid of {contrast}"
                do = (
                    "the first contrast sets the grid, onto which the mask is resampled: put "
                    f"{contrast} first in dataset.contrasts, so that the truth keeps its voxels"
                )
            yield Finding("warning", "another grid", what, do, file.subject, file.path)
    for contrast in dataset.contrasts:
        images = [file for file in files if file.kind == "image" and file.name == contrast]
        yield from _negative_minima([image.volume for image in images], contrast)
    yield from _unused_codes(files, dataset.targets, ignore)
    yield from _absent_codes(files, dataset.targets)


def _contrast_on_the_same_grid(mask: FileSummary, files: Iterable[FileSummary]) -> str | None:
    """Return a contrast of the mask's subject whose image is on the mask's grid; None if none."""

    def grid(file: FileSummary) -> tuple[object, ...]:
        volume = file.volume
        away = "another shape" if isnan(volume.away_mm) else round(volume.away_mm / ALIGNED_MM)
        return volume.shape, volume.zooms_mm, volume.orientation, away

    images = [file for file in files if file.kind == "image" and file.subject == mask.subject]
    return next((image.name for image in images if grid(image) == grid(mask)), None)


def _absent_codes(files: Sequence[FileSummary], targets: Mapping[str, Target]) -> Iterator[Finding]:
    """Yield targets with codes that no mask has, which may be misspelled.

    If the masks have none of the codes in `values`, they are empty, which other findings report.
    """
    for name, target in targets.items():
        masks = [file.mask for file in files if file.kind == "mask" and file.name == name]
        absent = _absent_values(target, [mask for mask in masks if mask])
        if 0 < len(absent) < len(target.codes or ()):
            codes = ", ".join(f"{code:g}" for code in absent)
            what = f"dataset.targets.{name}.values: no mask of {name} has a voxel of {codes}"
            do = "correct the codes, or remove those that are not needed"
            yield Finding("warning", "unused codes", what, do)
        if target.ignore and masks and not any(mask and mask.ignored for mask in masks):
            codes = ", ".join(f"{code:g}" for code in target.ignore)
            what = f"dataset.targets.{name}.ignore: no mask of {name} has a voxel of {codes}"
            do = "correct the codes, or remove the key if nothing has to be ignored"
            yield Finding("warning", "unused ignore codes", what, do)


def _absent_values(target: Target, masks: Sequence[MaskSummary]) -> list[float]:
    """Return the codes in a target's `values` that none of its masks has.

    None where a mask has so many values that not all of them were kept.
    """
    if any(mask.distinct > len(mask.values) for mask in masks):
        return []
    values = {value for mask in masks for value in mask.values}
    distance = ROUNDING if target.round else TOLERANCE
    return [
        code
        for code in target.codes or ()
        if not any(abs(value - code) <= distance for value in values)
    ]


def _negative_minima(volumes: Sequence[VolumeSummary], contrast: str) -> Iterator[Finding]:
    """Yield a note if 0 is not the lowest value of a contrast, so that it may be tissue."""
    below = [volume.min for volume in volumes if volume.min < 0]
    if below:
        what = (
            f"{contrast}: {len(below)} of {len(volumes)} images have values below 0, the lowest is "
            f"{min(below):g}"
        )
        do = (
            "the background is the low end of each image: if it is 0 in these images, set "
            "dataset.fill: 0; if it is not, do not use standardize: {region: nonzero}, which "
            "takes 0 for background"
        )
        yield Finding("note", "values below 0", what, do)


def find_flat_scans(files: Sequence[FileSummary], samples: Samples) -> Iterator[Finding]:
    """Yield images of which a network has no sound samples.

    For a 3D network these are images of a single slice. For a 2D network they are images whose
    slices are 1 pixel wide, 2D images that are cut along the wrong axis, and images with too few
    slices for `slices.neighbors`.
    """
    for file in files:
        if file.kind != "image":
            continue
        if not isinstance(samples, Slices):
            if 1 in file.volume.shape:
                what = f"has one slice ({format_shape(file.volume.shape)} voxels)"
                do = "use model.name: unet2d, or leave the subject out with dataset.exclude"
                yield Finding("error", "single slice", what, do, file.subject, file.path)
            continue
        axis_of = {code: axis for axis, codes in enumerate(("LR", "PA", "IS")) for code in codes}
        lengths = zip(file.volume.orientation, file.volume.shape, strict=True)
        x, y, z = (n for _, n in sorted(lengths, key=lambda pair: axis_of[pair[0]]))
        if plane := samples.plane_of_flat((x, y, z)):
            what, do = samples.flat_message([file.subject], plane), f"set slices.axis: {plane}"
            yield Finding("warning", "flat slices", what, do, file.subject, file.path)
        if (count := (x, y, z)[samples.axis_index]) <= samples.neighbors:
            what = (
                f"has {count} {samples.axis} slice(s), but slices.neighbors: {samples.neighbors} "
                f"needs at least {samples.neighbors + 1}"
            )
            do = "use fewer neighbors, or leave the subject out with dataset.exclude"
            yield Finding("warning", "too few slices", what, do, file.subject, file.path)


def _unused_codes(
    files: Sequence[FileSummary],
    targets: Mapping[str, Target],
    ignore: Mapping[str, Mapping[str, Sequence[float]]],
) -> Iterator[Finding]:
    """Yield a note for each code in masks that none of their targets uses or ignores."""
    unused: dict[Path, set[float]] = {}
    for file in files:
        target = targets[file.name] if file.kind == "mask" else None
        if target and target.codes is not None and file.mask is not None:
            codes, distance = target.codes, ROUNDING if target.round else TOLERANCE
            meant = (0, *codes, *ignore.get(file.subject, {}).get(file.name, ()))
            rest = {
                value
                for value in file.mask.values
                if not any(abs(value - code) <= distance for code in meant)
            }
            unused[file.path] = unused.get(file.path, rest) & rest
    for code in sorted(set().union(*unused.values())):
        count = sum(code in codes for codes in unused.values())
        what = f"the value {code:g} is in {count} of {len(unused)} masks and in no target"
        do = "nothing, if it is meant to be background; else add it to a target's values"
        yield Finding("note", "unused value", what, do)


MIN_SUBJECTS = 8
"""Among fewer subjects there are no outliers."""
MAX_DEVIATION = 6.0
"""Robust standard deviations from the median."""
_LOOK = "look at it, and leave the subject out with dataset.exclude if it is wrong"
_LEAST_SCALE = 0.01


def find_outliers(files: Sequence[FileSummary]) -> Iterator[Finding]:
    """Yield grids, intensities and volumes far from those of the other subjects."""
    yield from _unlike_most(files, "zooms", lambda volume: format_zooms(volume.zooms_mm))
    yield from _unlike_most(files, "orientation", lambda volume: volume.orientation)
    images: dict[str, list[FileSummary]] = defaultdict(list)
    masks: dict[str, list[FileSummary]] = defaultdict(list)
    for file in files:
        if file.kind == "image" and not isnan(file.volume.median):
            images[file.name].append(file)
        if file.kind == "mask" and file.mask and not file.mask.empty:
            masks[file.name].append(file)
    for filled in images.values():
        intensities = {
            "median intensity": [file.volume.median for file in filled],
            "standard deviation": [file.volume.std for file in filled],
        }
        yield from _outlying_files(filled, "unusual intensity", intensities, is_outlier)
    for filled in masks.values():
        volumes = {"volume [ml]": [file.mask.volume_ml for file in filled if file.mask]}
        yield from _outlying_files(filled, "unusual volume", volumes, is_outlier_in_log)


def is_outlier(values: Float64Array, least_scale: float | None = None) -> BoolArray:
    """Return which values (N,) are more than 6 robust standard deviations from their median.

    A robust standard deviation is 1.4826 times the median distance from the median (MAD), which
    is that of a normal distribution; it is at least `least_scale` (default: 1 % of the median), so
    that rounding makes no outliers among nearly equal values.
    """
    center = float(np.median(values))
    distances = np.abs(values - center)
    least_scale = _LEAST_SCALE * abs(center) if least_scale is None else least_scale
    scale = max(1.4826 * float(np.median(distances)), least_scale)
    return np.asarray((distances > MAX_DEVIATION * scale) & (scale > 0))


def is_outlier_in_log(values: Float64Array) -> BoolArray:
    """Return the outliers among the logarithms of values (N,) above 0, which are less skewed."""
    return is_outlier(np.log(values), _LEAST_SCALE)


def _outlying_files(
    files: Sequence[FileSummary],
    kind: str,
    properties: Mapping[str, Sequence[float]],
    test: Callable[[Float64Array], BoolArray],
) -> Iterator[Finding]:
    """Yield a finding for each file of a cohort with one or more outlying properties."""
    if len({file.subject for file in files}) < MIN_SUBJECTS:
        return
    texts: list[list[str]] = [[] for _ in files]
    for name, values_of_files in properties.items():
        values = np.array(values_of_files)
        outlying = test(values)
        low, high = values[~outlying].min(), values[~outlying].max()  # at least half of all
        for index in np.flatnonzero(outlying):
            texts[index].append(f"{name} {values[index]:.4g} (others: {low:.4g} to {high:.4g})")
    for file, deviations in zip(files, texts, strict=True):
        if deviations:
            what = f"{file.name}: {', '.join(deviations)}"
            yield Finding("warning", kind, what, _LOOK, file.subject, file.path)


def _unlike_most(
    files: Iterable[FileSummary], kind: str, value_of: Callable[[VolumeSummary], str]
) -> Iterator[Finding]:
    """Yield subjects whose first image differs from that of more than half of the subjects."""
    first_images: dict[str, FileSummary] = {}
    for file in files:
        if file.kind == "image":
            first_images.setdefault(file.subject, file)
    values = [(file, value_of(file.volume)) for file in first_images.values()]
    for usual, count in Counter(value for _, value in values).most_common(1):
        for file, value in values:
            if value != usual and 2 * count > len(values):
                what = f"has the {kind} {value}, but {count} of {len(values)} subjects have {usual}"
                yield Finding("warning", f"unusual {kind}", what, _LOOK, file.subject, file.path)
