"""What every loader shares: its YAML keys, and the validation of the files it has found."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from softseg.core.component import Component, check_distinct
from softseg.core.errors import UserError, combined_error
from softseg.core.names import is_utf8, listing, natural_key, unknown_name
from softseg.data.fill import Fill
from softseg.data.nifti.io import unreadable_formats
from softseg.data.raters import Raters
from softseg.data.softening import Soften
from softseg.data.subject import (
    DatasetError,
    IncludedValues,
    Subject,
    SubjectFiles,
    select_subjects,
)

TargetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
Confidence = Annotated[float, Field(ge=0, le=1)]
_CODE = re.compile(r"[-+]?[0-9]{1,15}(\.[0-9]*)?")
_log = logging.getLogger(__name__)


class Target(Component):
    """A structure to segment, one output channel of the model, and where its mask comes from."""

    values: (
        Annotated[tuple[int | float, ...], Field(min_length=1)]
        | Annotated[dict[str, Confidence], Field(min_length=1)]
        | None
    ) = None
    """Label codes that make up this target, e.g. [1] or [1, 4]; or each code with the soft value of
    its voxels, e.g. {1: 0.5, 2: 1}: how confident the rater was, above 0 and at most 1 (a list: 1
    each). Other codes are background. null: the mask itself is the soft mask, with values in
    [0, 1]."""
    maximum: Annotated[float, Field(gt=0)] | None = None
    """The value that means 1, for soft masks on another scale: 100 for percent, 255 for 8 bits,
    65535 for 16 bits; not for label codes. null: 1."""
    clip: bool = False
    """Whether to clip values outside [0, 1] (after the division by `maximum`), such as -0.1 and
    1.14, which interpolation with splines leaves; values further than 0.5 outside stay an error."""
    round: bool = False
    """Whether to round voxels to whole numbers before `values` are compared with them, for codes
    that a scaled file stores as 3.01; those further than 0.25 from a whole number stay an error."""
    ignore: tuple[int | float, ...] | None = None
    """Label codes of voxels whose truth is unknown for this target, e.g. [255]
    or [-1]: they count in no loss, no metric and no threshold search. null: the label called
    `ignore` in dataset.json (loader `nnunet`), else none; []: none."""
    soften: Soften | None = None
    """How the mask is made soft before training, on the grid of its file and in mm: `gaussian`,
    `distance`, `dilation`, `geodesic`, `smoothing` or `supersampled`, e.g. {distance: {width_mm:
    1.0}}. Training and the validation loss use the softened mask. All scores stay against the mask
    of the files: the validation Dice, `eval` and the threshold search. So do the distance maps of
    contour losses. Several raters: with `fusion: mean` and `random` each mask is softened before
    they are fused, else the fused mask. Methods other than `gaussian` and `smoothing` need a binary
    mask. Voxels to ignore stay ignored, and make no edge. null: the mask stays as it is."""
    confidence: Annotated[str, Field(min_length=1)] | None = None
    """Where the maps are of how much each voxel counts in the loss: NIfTI files with numbers from 0
    (not at all, as a voxel to ignore) to 1 (fully), one for each subject, on the grid of the masks.
    Loader `files`: a path pattern; `bids`: what follows the image's name, e.g. desc-confidence;
    `table`: the column of their paths; not for `nnunet`. Only the loss is weighted: no metric of
    `eval` uses them. null: every voxel counts fully."""
    label: str | None = None
    """Path pattern of this target's mask, in place of the dataset's `label` (loader `files`)."""
    suffix: str | None = None
    """What follows the image's name in the mask's name, e.g. seg-manual; may hold {rater}, e.g.
    seg-rater{rater} (loader `bids`, which needs it)."""
    contrast: str | None = None
    """The contrast whose image the mask is named after; null: the one that has a mask."""

    _distinct = field_validator("values", "ignore")(check_distinct)

    @field_validator("values")
    @classmethod
    def _check_confidences(cls, values: Any) -> Any:
        """Raise ValueError for keys that are not codes, a code twice, and confidence 0."""
        written: dict[float, str] = {}
        for code, confidence in values.items() if isinstance(values, dict) else ():
            try:
                number = _number_of(code)
            except ValueError:
                raise ValueError(f"{code}: is not a label code, which is a number") from None
            if number in written:
                raise ValueError(f"{code}: is the same code as {written[number]}; remove one")
            if confidence == 0:
                raise ValueError(f"{code}: is background with confidence 0; leave the code out")
            written[number] = code
        return values

    @property
    def codes(self) -> dict[int | float, float] | None:
        """The label codes of the target -> the soft value of their voxels; None: a soft mask."""
        if isinstance(self.values, dict):
            return {_number_of(code): confidence for code, confidence in self.values.items()}
        return None if self.values is None else dict.fromkeys(self.values, 1.0)

    @property
    def has_confidences(self) -> bool:
        """Whether codes of the target have soft values between 0 and 1."""
        return any(confidence < 1 for confidence in (self.codes or {}).values())

    @model_validator(mode="after")
    def _reject_codes_of_the_mask(self) -> Self:
        """Raise ValueError for codes to ignore that are values of the mask itself."""
        values = (0, self.maximum or 1) if self.codes is None else self.codes
        for code in self.ignore or ():
            if code in values:
                where = "the values of a mask without codes" if self.values is None else "values"
                raise ValueError(f"ignore: {code} is one of {where}; remove it from one of them")
        return self

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        """Raise ValueError for keys of codes and of soft masks in one target."""
        if self.values is None and self.round:
            raise ValueError("round: rounds label codes, and none are chosen; write values")
        for key in ("maximum", "clip"):
            if self.values is not None and getattr(self, key):
                raise ValueError(f"{key}: is for soft masks, and values are codes; remove one")
        if self.round and any(code != int(code) for code in self.codes or ()):
            raise ValueError("round: would never match a code that is a fraction; correct values")
        return self


def _number_of(code: str) -> int | float:
    """Return a code that is a key of a mapping, and so text. Raises ValueError if it is none."""
    if not _CODE.fullmatch(code):
        raise ValueError(code)
    number = float(code)
    return int(number) if number.is_integer() else number


class DatasetFields(Component):
    """The keys that all loaders have."""

    unused_target_keys: ClassVar[dict[str, str]] = {}
    """The keys of a target that this loader does not use -> what to do without them."""

    root: str
    """Folder of the dataset; relative to the working directory, or absolute."""
    contrasts: Annotated[tuple[str, ...], Field(min_length=1)]
    """The input channels, in this order; every subject must have them all."""
    targets: Annotated[dict[TargetName, Target], Field(min_length=1)]
    """What to segment: a name (letters, digits, `_`, `-`; it ends in file names) and where its
    mask comes from. The order is that of the model's output channels."""
    raters: Raters = Raters()
    """How the masks of several raters are fused into one."""
    exclude: tuple[str, ...] = ()
    """Names of subjects to leave out."""
    include: dict[str, IncludedValues] = Field(default={})
    """The subjects to use: a column and the values that are kept, e.g. {subject: [a, b]} or
    {center: [1, 2]}; a subject must match all columns that are given. {}: all subjects."""
    cache: str | None = "runs/.cache"
    """Folder for preprocessed volumes, relative to the working directory; null: keep none."""
    cache_gb: Annotated[float, Field(gt=0)] | None = 50.0
    """Maximum size of the cache in GiB. After preprocessing, the least recently used entries are
    deleted; entries of the current experiment are kept. null: no limit."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Maximum size of the slices in memory in GiB; larger ones stay in a file under `cache` and are
    read when they are needed. null: half of the machine's memory."""
    on_grid_mismatch: Literal["error", "resample"] = "error"
    """What to do with contrasts and masks that are not on the first contrast's grid: report an
    error, or resample them onto it (linear, so a mask becomes soft at its edge). The first contrast
    sets the grid of truth and predictions: put the contrast first on which the masks were drawn, so
    that they are not resampled."""
    fill: Fill | dict[str, Fill] = "minimum"
    """Raw value outside of the scan: in padding, where augmentation turns a slice out of its frame,
    and beyond an image that `on_grid_mismatch` resamples. `minimum`: the value that 0.5 % of the
    contrast's voxels are below, which is air or, where the skull was stripped, 0. A number, in the
    units of the files, for scans without background: those that show nothing but tissue, and
    skull-stripped scans with values below 0 (fill: 0). For each contrast: {CT: -1024, PET: 0};
    contrasts that are not named have `minimum`."""
    roi: str | None = None
    """Where the ROI mask is; null: there is none."""

    _distinct = field_validator("contrasts", "exclude")(check_distinct)

    @model_validator(mode="after")
    def _reject_unused_target_keys(self) -> Self:
        for name, target in self.targets.items():
            for key, remedy in self.unused_target_keys.items():
                if getattr(target, key) is not None:
                    raise ValueError(f"targets.{name}.{key}: {remedy}")
        return self

    @model_validator(mode="after")
    def _check_filled_contrasts(self) -> Self:
        for name in self.fill if isinstance(self.fill, dict) else ():
            if name not in self.contrasts:
                raise ValueError(f"fill: {unknown_name('contrast', name, self.contrasts)}")
        return self

    @property
    def distinguishes_raters(self) -> bool:
        """Whether masks of one target may be by several raters."""
        return True

    def fill_of(self, contrast: str) -> Fill:
        """Return how the value outside of one contrast is chosen."""
        return self.fill.get(contrast, "minimum") if isinstance(self.fill, dict) else self.fill

    @property
    def hint(self) -> str:
        """How to get the data, for the message that they are missing."""
        return "correct dataset.root, or give it with --set dataset.root=FOLDER"

    def existing_root(self) -> Path:
        """Return the folder of the dataset.

        Raises UserError, with how to get the data, if it does not exist.
        """
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise UserError(f"dataset.root: there is no folder {root}; {self.hint}")
        return root

    def available_contrasts(self, root: Path) -> set[str]:  # noqa: ARG002
        """Return the contrasts that the folder has, wanted or not; none: unknown."""
        return set()

    def resolve_subjects(
        self,
        root: Path,
        candidates: Sequence[SubjectFiles],
        searched: str,
        problems: Sequence[str] = (),
    ) -> list[Subject]:
        """Return the subjects to use, in natural order.

        `searched` is the pattern of the images, for the message that there are none; `problems`
        are those of the dataset as a whole (`<place>: <what>`).

        Raises UserError for a key that names a subject, rater or contrast that does not exist, and
        if no subject has an image; DatasetError for everything that is missing or ambiguous.
        """
        names = {files.name for files in candidates}
        unknown = [name for name in self.exclude if name not in names]
        if unknown and names:
            raise UserError(f"dataset.exclude: {unknown_name('subject', unknown[0], names)}")
        present = {name for files in candidates for name, paths in files.images.items() if paths}
        absent = [name for name in self.contrasts if name not in present]
        available = self.available_contrasts(root) if absent else set()
        if available and absent:
            message = unknown_name("contrast", absent[0], available)
            raise UserError(f"dataset.contrasts: in {root} there is {message}")
        selected = select_subjects(candidates, self.include)
        kept = [files for files in selected if files.name not in self.exclude]
        complete = [files for files in kept if files.images or files.labels or files.is_named]
        if not any(files.images for files in complete):
            content = [path.name + "/" * path.is_dir() for path in root.iterdir()]
            held = f"it holds {listing(content, 6)}" if content else "it is empty"
            if others := unreadable_formats(root):
                held = f"it holds {others}"
            raise UserError(
                f"dataset.root: no image in {root} ({held}); looked for {searched}; {self.hint}"
            )
        self.raters.check_names({rater for files in candidates for rater in files.raters})
        complete.sort(key=lambda files: natural_key(files.name))
        validated = [validate_subject(files, self) for files in complete]
        problems = [*problems, *(problem for _, own in validated for problem in own)]
        if problems:
            heading = (
                f"{len(problems)} problem(s) in the dataset {root} "
                "(add the files, or leave subjects out by name with dataset.exclude):"
            )
            sound = [subject for subject, own in validated if not own]
            raise DatasetError(str(combined_error(heading, problems)), problems, sound)
        subjects = [subject for subject, _ in validated]
        if self.raters.chosen is None:  # otherwise the masks of other raters are not read
            _warn_of_missing_raters(subjects, list(self.targets))
            self._warn_of_lost_confidences(subjects)
            self._warn_of_background_codes()
        left_out = [files.name for files in kept if files not in complete]
        if left_out:
            _log.warning(
                "%d subject(s) without %s left out: %s",
                len(left_out), " or ".join(self.contrasts), listing(left_out),
            )  # fmt: skip
        return subjects

    def _warn_of_lost_confidences(self, subjects: Sequence[Subject]) -> None:
        """Warn if a fusion makes masks with confidences binary."""
        if self.raters.fusion not in ("majority", "staple"):
            return
        for name, target in self.targets.items():
            if target.has_confidences and any(len(s.labels.get(name, {})) > 1 for s in subjects):
                _log.warning(
                    "dataset.raters.fusion: %s makes the masks of several raters binary at 0.5, so "
                    "the confidences of dataset.targets.%s.values are lost; fusion: mean keeps "
                    "them",
                    self.raters.fusion, name,
                )  # fmt: skip

    def _warn_of_background_codes(self) -> None:
        """Warn of targets that 0 belongs to, the code of what is in no structure."""
        for name, target in self.targets.items():
            if 0 in (target.codes or {}):
                _log.warning(
                    "dataset.targets.%s.values: 0 is the code of the background in most masks, so "
                    "nearly every voxel belongs to this target; remove it, unless that is meant",
                    name,
                )


def _warn_of_missing_raters(subjects: Sequence[Subject], targets: Sequence[str]) -> None:
    """Warn if a rater of some subjects has no mask of others: files may be missing."""
    for target in targets:
        available = {subject.name: subject.labels.get(target, {}) for subject in subjects}
        raters = {rater for of_subject in available.values() for rater in of_subject}
        missing = {
            rater: [name for name, of_subject in available.items() if rater not in of_subject]
            for rater in sorted(raters, key=natural_key)
        }
        texts = [f"{rater or 'no name'}: {listing(n, 5)}" for rater, n in missing.items() if n]
        if texts:
            _log.warning(
                "masks of %s are not by the same raters, so the truth of subjects differs; no mask "
                "by rater %s; add the files, or see dataset.raters.required",
                target, "; ".join(texts),
            )  # fmt: skip


def validate_subject(files: SubjectFiles, dataset: DatasetFields) -> tuple[Subject, list[str]]:
    """Return the subject, and everything that is missing or ambiguous about it."""
    problems: list[str] = []
    images = {}
    for contrast in dataset.contrasts:
        paths = files.images.get(contrast, [])
        if not paths:
            place = files.searched[f"image {contrast}"]
            problems.append(f"no {contrast} image (looked for {place})")
        elif len(paths) > 1:
            problems.append(_ambiguous(paths, contrast))
        else:
            images[contrast] = paths[0]
    labels = {
        target: _masks_by_rater(files, target, dataset, problems) for target in dataset.targets
    }
    confidence = dict(_confidence_maps(files, dataset, problems))
    roi = None if dataset.roi is None else _roi(files, dataset.contrasts, problems)
    # file systems allow any bytes, but no table can hold a name that is not text
    problems += [
        f"the name {name!a} is not UTF-8 text; rename the files"
        for name in (files.name, *files.raters)
        if not is_utf8(name)
    ]
    own_codes = {name: target.ignore for name, target in dataset.targets.items()}
    codes = {name: files.ignore if own is None else own for name, own in own_codes.items()}
    ignore = {name: of_target for name, of_target in codes.items() if of_target}
    subject = Subject(
        files.name, images, labels, roi, files.columns, files.frames, ignore, confidence
    )
    return subject, [f"{files.name}: {problem}" for problem in problems]


def _masks_by_rater(
    files: SubjectFiles, target: str, dataset: DatasetFields, problems: list[str]
) -> dict[str, Path | None]:
    """Return rater -> mask of one target; add what is missing or ambiguous to `problems`."""
    masks = files.labels.get(target, [])
    if not masks:
        problems.append(f"no mask of {target} (looked for {files.mask_location(target)})")
        return {}
    contrasts = {mask.contrast for mask in masks}
    if len(contrasts) > 1:
        problems.append(
            f"masks of {target} for several contrasts ({listing(contrasts)}): "
            f"choose one with dataset.targets.{target}.contrast"
        )
        return {}
    paths: dict[str, list[Path | None]] = {}
    for mask in masks:
        paths.setdefault(mask.rater, []).append(mask.path)
    problems += [
        _ambiguous(several, f"the mask of {target}{_by(rater)}")
        for rater, several in paths.items()
        if len(several) > 1
    ]
    problems += _rater_problems(files, target, list(paths), dataset.raters)
    return {rater: several[0] for rater, several in paths.items()}


def _rater_problems(
    files: SubjectFiles, target: str, raters: Sequence[str], rules: Raters
) -> Iterator[str]:
    """Yield what is wrong if raters named by a table or the configuration have no mask."""
    if problem := rules.chosen_rater_problem(raters):
        place = files.mask_location(target, rules.chosen)
        yield f"dataset.raters.fusion: {problem} (looked for the mask of {target}: {place})"
    available = f"raters are {listing(raters)}"
    if set(raters) == {""}:
        available = "its masks are not distinguished by {rater}"
    missing = files.missing_raters.get(target, [])
    required = [name for name in rules.required_names if name not in (*raters, *missing)]
    for rater in (*missing, *required):
        place = files.mask_location(target, rater)
        see = "; see dataset.raters.required" if rater in required else ""
        yield f"no mask of {target}{_by(rater)} (looked for {place}; {available}{see})"
    if isinstance(rules.required, int) and len(raters) < rules.required:
        detail = f"looked for {files.mask_location(target)}; {available}"
        number = f"dataset.raters.required is {rules.required}"
        yield f"{len(raters)} mask(s) of {target}, but {number} ({detail})"


def _confidence_maps(
    files: SubjectFiles, dataset: DatasetFields, problems: list[str]
) -> Iterator[tuple[str, Path]]:
    """Yield each target with its map of confidence; add what is missing or ambiguous."""
    for name in (n for n, target in dataset.targets.items() if target.confidence is not None):
        paths = files.confidences.get(name, [])
        if len(paths) == 1:
            yield name, paths[0]
            continue
        what = f"the confidence map of {name}"
        place = files.searched[f"confidence {name}"]
        problems.append(
            _ambiguous(paths, what)
            if paths
            else f"no confidence map of {name} (looked for {place}; "
            f"dataset.targets.{name}.confidence needs one for each subject)"
        )


def _roi(files: SubjectFiles, contrasts: Sequence[str], problems: list[str]) -> Path | None:
    """Return the ROI mask; of masks named after several contrasts, that of the first contrast."""
    order = ("", *contrasts)
    first = min((order.index(mask.contrast) for mask in files.rois), default=0)
    paths = [
        mask.path for mask in files.rois if mask.contrast == order[first] and mask.path is not None
    ]
    if len(paths) > 1:
        problems.append(_ambiguous(paths, "the ROI mask"))
    if paths:
        return paths[0]
    problems.append(f"no ROI mask (looked for {files.searched['roi']})")
    return None


def _ambiguous(paths: Sequence[Path | None], what: str) -> str:
    return f"{len(paths)} files match {what}: {', '.join(map(str, paths))}"


def _by(rater: str) -> str:
    return f" by rater {rater}" if rater else ""
