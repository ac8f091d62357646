"""The segmentations in a folder, of any tool: found, matched to the truth, and read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from softseg.core.errors import UserError
from softseg.core.files import read_json
from softseg.core.names import listing, natural_key
from softseg.core.types import BoolArray, Float32Array
from softseg.data.loaders.dataset_json import DatasetJson
from softseg.data.masks import TOLERANCE, format_values, is_continuous
from softseg.data.nifti.grid import Grid, corner_distance, may_overlap, regrid, same_place
from softseg.data.nifti.io import (
    Volume,
    count_volumes,
    file_stem,
    nifti_files,
    nifti_stem,
    read_volume,
)
from softseg.interop.from_images import as_mask, read_pixels
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.scoring.case_table import CaseTable
from softseg.scoring.channels import Channels, read_channels
from softseg.scoring.names import LABELS, MASK, SOFT, SegmentationName, matching_cases, parse_name
from softseg.scoring.nnunet_probabilities import read_probabilities
from softseg.scoring.truth import Truth, path_in

Codes = dict[str, tuple[float, ...]]
"""Target -> its codes in label maps."""
CHANNELS = "channels"
"""The kind of a file that has soft maps of all targets, next to those that a name may state."""
_NNUNET = ".npz"
_PICTURES = (".png", ".tif", ".tiff")
_DERIVED = "_desc-"  # in the names of maps of an uncertainty method


@dataclass(frozen=True)
class PredictedFile:
    """One file of a segmentation, not read yet."""

    path: Path
    name: SegmentationName
    case: str
    """That of its name, or of a table."""

    @property
    def kind(self) -> str:
        """Whether it holds a soft map or a mask of one target, labels, or channels of soft maps.

        Raises FileError for a header that is not valid.
        """
        if self.path.suffix.lower() == _NNUNET:
            return CHANNELS
        if self.name.target:
            return self.name.kind or SOFT
        return CHANNELS if nifti_stem(self.path) and count_volumes(self.path) > 1 else LABELS


@dataclass(frozen=True)
class Predictions:
    """The segmentations in a folder, by the subject of the truth."""

    folder: Path
    files: dict[str, list[PredictedFile]]
    codes: Codes
    """Of its label maps, where they are known."""
    own_codes: frozenset[str]
    """The targets whose codes are those of the predictions, and not only those of the truth."""
    regions: tuple[str, ...] = ()
    """The regions of nnU-Net's region-based training, in the order of the channels."""


@dataclass(frozen=True, eq=False)
class Segmented:
    """One target of one scan, (X, Y, Z) on the grid of the truth."""

    soft: Float32Array  # in [0, 1]
    mask: BoolArray
    threshold: float  # with which the mask was made; NaN: unknown


def find_predictions(
    folder: Path,
    truth: Truth,
    problems: list[str],
    codes: Mapping[str, Sequence[float]],
    cases: CaseTable | None = None,
) -> Predictions:
    """Find the segmentations in a folder and its subfolders, and match them to the truth by name.

    Appends to `problems` what has no truth, what could be of several subjects, and the subjects
    without a segmentation. `codes` are those of targets in label maps, as given; a table of `cases`
    replaces the names. Raises UserError if there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "there is no such folder"
        raise UserError(f"{folder}: {wrong}; name the folder of the segmentations")
    if cases is None:
        parsed = [_parsed(folder, path) for path in _files_of(folder)]
    else:
        parsed = [
            replace(_parsed(folder, folder / path), case=case)
            for path, case in cases.predictions.items()
        ]
    files = [file for file in parsed if file.name.target in ("", *truth.targets)]
    if not files:
        named = sorted({file.name.target for file in parsed})
        advice = f"; it has those of {listing(named)}: name the target so (--target)"
        raise UserError(
            f"{folder}: has no segmentations of {listing(truth.targets)} (NIfTI files such as "
            f"<case>.nii.gz or <case>_label-<target>_probseg.nii.gz){advice if named else ''}"
        )
    by_subject: dict[str, list[PredictedFile]] = {name: [] for name in truth.subjects}
    unknown, ambiguous = [], {}
    for file in files:
        matches = matching_cases(file.case, truth.names)
        if len(matches) == 1:
            by_subject[matches[0]].append(file)
        elif matches:
            ambiguous[path_in(folder, file.path)] = matches
        else:
            unknown.append(path_in(folder, file.path))
    missing = [name for name, own in by_subject.items() if not own]
    if ambiguous:
        first, of_first = next(iter(ambiguous.items()))
        problems.append(
            f"{folder}: {listing(ambiguous)}: may be of several cases ({first} of "
            f"{listing(of_first)}); rename them, write a table of them (--cases), or describe the "
            "truth in a YAML file with the section `dataset`"
        )
    if unknown:
        problems.append(
            f"{folder}: {listing(unknown)}: have no truth in {truth.source}; add it, or rename them"
        )
    if missing:
        problems.append(
            f"{folder}: has no segmentation of {listing(missing)}; add it, or leave them out of "
            "the truth"
        )
    matched = {name: own for name, own in by_subject.items() if own}
    known, own_codes = _label_codes(folder, truth, codes)
    return Predictions(folder, matched, known, own_codes, _regions(folder))


def _files_of(folder: Path) -> list[Path]:
    """Return the files of segmentations, sorted; pictures only where there are no others.

    Maps of uncertainty are not among them.
    """
    files = [path for path in nifti_files(folder) if _DERIVED not in path.name]
    files += _visible(folder, _NNUNET)
    return sorted(files or _visible(folder, *_PICTURES), key=lambda path: natural_key(str(path)))


def _visible(folder: Path, *endings: str) -> list[Path]:
    """Return the files with these endings in a folder and its subfolders, except hidden ones."""
    files = [path for path in folder.rglob("*") if path.suffix.lower() in endings]
    return [path for path in files if not path.name.startswith(".")]


def _parsed(folder: Path, path: Path) -> PredictedFile:
    """Return a file with what its name says."""
    plain = path if nifti_stem(path) else path.with_suffix("")
    name = parse_name(path_in(folder, plain))
    return PredictedFile(path, name, name.case)


def _label_codes(
    folder: Path, truth: Truth, given: Mapping[str, Sequence[float]]
) -> tuple[Codes, frozenset[str]]:
    """Return the codes of the targets in label maps, and for which they are of the predictions.

    They are given, in the dataset.json of nnU-Net next to the predictions, or those of the truth.
    """
    of_truth = {name: tuple(target.codes or ()) for name, target in truth.dataset.targets.items()}
    codes: Codes = {name: values for name, values in of_truth.items() if values}
    described: Codes = {}
    if (folder / "dataset.json").is_file():
        for name, target in DatasetJson.read(folder / "dataset.json").targets().items():
            described |= {name: tuple(target["values"])} if name in of_truth else {}
    own = {**described, **{name: tuple(values) for name, values in given.items()}}
    return {**codes, **own}, frozenset(own)


def _regions(folder: Path) -> tuple[str, ...]:
    """Return the regions of dataset.json next to the predictions; () if labels have one code."""
    if not (folder / "dataset.json").is_file():
        return ()
    targets = DatasetJson.read(folder / "dataset.json").targets()
    return tuple(targets) if any(len(target["values"]) > 1 for target in targets.values()) else ()


def read_predictions(
    predictions: Predictions,
    subject: str,
    targets: Sequence[str],
    grid: Grid,
    threshold: float | None,
    resample: bool,
) -> dict[str, Segmented]:
    """Read the segmentations of one subject: each target on the grid of the truth.

    With `threshold`, masks are made of the soft maps; without, a mask that is next to a soft map is
    used, and else those of 0.5. With `resample`, maps on other grids are interpolated linearly.
    Raises UserError with every problem, a line each.
    """
    reader = _Reader(predictions, predictions.files[subject], tuple(targets), grid, resample)
    segmented: dict[str, Segmented] = {}
    problems: list[str] = []
    for target in targets:
        try:
            segmented[target] = reader.segmented(target, threshold)
        except UserError as error:
            problems += str(error).splitlines()
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return segmented


@dataclass(frozen=True)
class _Reader:
    """Reads the files of one subject, those of several targets once."""

    predictions: Predictions
    files: list[PredictedFile]
    targets: tuple[str, ...]
    grid: Grid
    resample: bool
    channels: dict[Path, Channels] = field(default_factory=dict)
    """What was read of the files with channels of all targets."""

    def segmented(self, target: str, threshold: float | None) -> Segmented:
        """Return the soft map and the mask of a target. Raises UserError if there is none."""
        own: dict[str, list[PredictedFile]] = defaultdict(list)
        for file in self.files:
            if file.name.target in ("", target):
                own[file.kind].append(file)
        if own[SOFT] or own[MASK]:  # names that say the target count before label maps
            own[LABELS] = [file for file in own[LABELS] if file.name.target]
        for same in own.values():
            if len(same) > 1:
                paths = listing(str(file.path) for file in same)
                raise UserError(f"{paths}: are all of the same case and {target}; keep one of them")
        kinds = (SOFT, MASK, LABELS, CHANNELS)
        soft, mask, labels, channels = (own[kind][0] if own[kind] else None for kind in kinds)
        if channels is not None and soft is None:
            return self._of_channels(channels, mask or labels, target, threshold)
        main = soft or mask or labels
        if main is None:
            folder = self.predictions.folder
            raise UserError(f"{self.files[0].path}: {folder} has no segmentation of {target}")
        values = self._soft_values(main, target)
        if mask is None or (soft is not None and threshold is not None):
            used = TRUTH_THRESHOLD if threshold is None else threshold
            return Segmented(values, binarize(values, used), used)
        binary = values if soft is None else self._soft_values(mask, target)
        return Segmented(values, binarize(binary, TRUTH_THRESHOLD), _recorded_threshold(mask.path))

    def _of_channels(
        self,
        file: PredictedFile,
        labels: PredictedFile | None,
        target: str,
        threshold: float | None,
    ) -> Segmented:
        """Return the soft map of a target and its mask: that of the label map, if there is one.

        Without, the mask is where a channel of the target is the largest, or at least 0.5.
        """
        if file.path not in self.channels:
            is_nnunet = file.path.suffix.lower() == _NNUNET
            read = read_probabilities if is_nnunet else read_channels
            self.channels[file.path] = read(file.path)
        channels = self.channels[file.path]
        soft, mask = channels.of(self._indices(file.path, channels, target))
        soft = _in_range(soft, file.path)
        grid = channels.grid
        if grid is None:
            if soft.shape != self.grid.shape:
                raise UserError(
                    f"{file.path}: has the shape {soft.shape}, and the truth {self.grid.shape}; "
                    "put nnU-Net's label map or .pkl file next to it"
                )
            grid = self.grid
        volume = Volume(soft, grid)
        values = self._on_grid(soft, volume, file.path)
        if threshold is not None:
            return Segmented(values, binarize(values, threshold), threshold)
        if labels is not None:
            binary = self._soft_values(labels, target)
        else:
            binary = self._on_grid(mask.astype(np.float32), volume, file.path)
        return Segmented(values, binarize(binary, TRUTH_THRESHOLD), TRUTH_THRESHOLD)

    def _indices(self, path: Path, channels: Channels, target: str) -> list[int]:
        """Return which channels are a target's. Raises UserError if that is not known."""
        count = len(channels.values)
        if target in self.predictions.regions:
            indices = [self.predictions.regions.index(target)]
        else:
            indices = self._indices_of_codes(path, channels, target)
        if not indices or min(indices) < 0 or max(indices) >= count:
            raise UserError(
                f"{path}: has {count} channels, and it is not known which of them is {target}; "
                f"write --codes {target}=CODE, or put nnU-Net's dataset.json next to it"
            )
        return indices

    def _indices_of_codes(self, path: Path, channels: Channels, target: str) -> list[int]:
        """Return the channels of a target's codes: 1 is the one after the background, if there is
        one, and else the first. Raises UserError if it is not known whether there is one.
        """
        count, background = len(channels.values), channels.have_background
        codes = [int(code) for code in self.predictions.codes.get(target, ())]
        largest = max((max(own) for own in self.predictions.codes.values()), default=0)
        if background is None and largest < count:  # else there are channels for codes alone
            raise UserError(
                f"{path}: all of its {count} channels are 0 in some voxels and sum to 1 in the "
                "others, so it is not known whether the first is the background; save 1 in the "
                "background's channel of the former, or a label map"
            )
        if background and not codes and count == 2 and len(self.targets) == 1:
            codes = [1]
        return [code - (0 if background else 1) for code in codes]

    def _soft_values(self, file: PredictedFile, target: str) -> Float32Array:
        """Return the map of a target in [0, 1] on the grid of the truth."""
        volume = self._read(file.path)
        values = _in_range(self._of_target(volume.data, file, target), file.path)
        return self._on_grid(values, volume, file.path)

    def _read(self, path: Path) -> Volume:
        """Return a volume; a picture, which has no position, is on the grid of the truth."""
        if nifti_stem(path):
            return read_volume(path)
        _, data = as_mask(path, read_pixels(path))
        if data.shape != self.grid.shape:
            raise UserError(
                f"{path}: has {data.shape[0]} x {data.shape[1]} pixels, and the truth {self.grid}"
            )
        return Volume(data.astype(np.float32), self.grid)

    def _of_target(self, data: Float32Array, file: PredictedFile, target: str) -> Float32Array:
        """Return the map of a target: the voxels themselves, or where they have its codes."""
        if file.name.target:
            return data
        whole = bool((np.abs(data - np.rint(data)) <= TOLERANCE).all())
        codes, single = self.predictions.codes.get(target, ()), len(self.targets) == 1
        own_codes = target in self.predictions.own_codes
        if not whole and not single:
            raise UserError(
                f"{file.path}: is a soft map, and its name does not say of which target "
                f"({listing(self.targets)}); name it <case>_label-<target>_probseg.nii.gz"
            )
        if not whole or (not own_codes and data.max() > 1 and is_continuous(data)):
            return data
        is_binary = single and not own_codes and data.min() >= 0 and data.max() <= 1
        if is_binary and (not codes or 1 in codes):
            return data
        if codes and not is_binary:
            return np.isin(np.rint(data), codes).astype(np.float32)
        raise UserError(
            f"{file.path}: holds the values {format_values(data)}, and it is not known which of "
            f"them is {target}; write --codes {target}=CODE"
        )

    def _on_grid(self, values: Float32Array, volume: Volume, path: Path) -> Float32Array:
        """Return a map on the grid of the truth. Raises UserError if it is on another one."""
        if same_place(volume.grid, self.grid):
            return values
        if not self.resample:
            other = f"has {volume.grid}, and the truth {self.grid}"
            if volume.grid.shape == self.grid.shape:
                distance = corner_distance(volume.grid, self.grid)
                other = f"is up to {distance:.3g} mm away from the truth"
            raise UserError(f"{path}: {other}; --resample brings it to the grid of the truth")
        if not may_overlap(volume.grid, self.grid):
            raise UserError(f"{path}: does not overlap the truth; fix its affine")
        return regrid(values, volume.grid, self.grid)


def _in_range(values: Float32Array, path: Path) -> Float32Array:
    """Return a soft map without the rounding below 0 and above 1. Raises UserError for more."""
    if values.min() < -TOLERANCE or values.max() > 1 + TOLERANCE:
        low, high = float(values.min()), float(values.max())
        raise UserError(
            f"{path}: has values from {low:.4g} to {high:.4g}, so it is not a soft map in [0, 1]; "
            "divide it by its value for 1"
        )
    return np.clip(values, 0, 1)


def _recorded_threshold(mask: Path) -> float:
    """Return the threshold in the sidecar of a mask; NaN if there is none."""
    try:
        return float(read_json(mask.with_name(f"{file_stem(mask)}.json"))["Threshold"])
    except (OSError, ValueError, LookupError, TypeError):
        return float("nan")
