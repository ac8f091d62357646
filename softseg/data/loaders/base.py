"""What every loader shares: its common YAML keys, and the judgment of what was found."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from softseg.core.component import Component, check_distinct
from softseg.core.errors import UserError, combined_error
from softseg.core.names import did_you_mean, is_utf8, listing, natural_key
from softseg.data.loaders.include import Only, selected
from softseg.data.loaders.subject_files import Found, Mask
from softseg.data.raters import Raters
from softseg.data.subject import DatasetError, Subject
from softseg.data.targets import Target

TargetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
_log = logging.getLogger(__name__)


class DatasetFields(Component):
    """The keys that all loaders have."""

    root: str
    """Folder of the data set; relative to the working directory, or absolute."""
    contrasts: Annotated[tuple[str, ...], Field(min_length=1)]
    """The input channels, in this order; every subject must have them all."""
    targets: Annotated[dict[TargetName, Target], Field(min_length=1)]
    """What to segment: a name (letters, digits, `_`, `-`; it ends in file names) and where its
    mask comes from. The order is that of the model's output channels."""
    raters: Raters = Raters()
    """How the masks of several raters become one."""
    exclude: tuple[str, ...] = ()
    """Names of subjects to leave out."""
    include: dict[str, Only] = Field(default_factory=dict)
    """The subjects to use: a column and the values that are kept, e.g. {subject: [a, b]} or
    {center: [1, 2]}; of several columns, all must fit. {}: everyone."""
    cache: str | None = "runs/.cache"
    """Folder for preprocessed volumes, relative to the working directory; null: keep none."""
    cache_gb: Annotated[float, Field(gt=0)] | None = 50.0
    """GiB that the volumes in `cache` may take: whenever data were prepared, those used longest ago
    are deleted until that holds; those of the experiment itself stay. null: no limit."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """GiB that the slices may take in memory; more stay in a file under `cache` and are read as
    they are needed. null: half of the machine's memory."""
    on_grid_mismatch: Literal["error", "resample"] = "error"
    """What to do with contrasts and masks that are not on the first contrast's grid: report an
    error, or resample them onto it (linear, so a mask gets soft at its edge)."""
    roi: str | None = None
    """Where the ROI mask is; null: there is none."""

    _distinct = field_validator("contrasts", "exclude")(check_distinct)

    @property
    def hint(self) -> str:
        """How to come by the data, for the message when it is not there."""
        return "correct dataset.root, or give it with --set dataset.root=FOLDER"

    def existing_root(self) -> Path:
        """The folder of the data set. Raises UserError, saying how to get the data, if absent."""
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise UserError(f"dataset.root: there is no folder {root}; {self.hint}")
        return root

    def settle(
        self, root: Path, found: Sequence[Found], sought: str, also: Sequence[str] = ()
    ) -> list[Subject]:
        """The subjects that were found, in natural order.

        Raises one UserError naming everything that is missing or ambiguous, after what is `also`
        wrong with the data set as a whole (`<place>: <what>`), or, where nothing was found, what
        was `sought` and what the folder holds instead; before that, one for a subject or a rater
        whom a key names and nobody is.
        """
        self._check_exclude(found)
        known = [one for one in selected(found, self.include) if one.name not in self.exclude]
        kept = [one for one in known if one.images or one.labels or one.is_named]
        if not any(one.images for one in kept):
            raise UserError(_nothing(root, sought, self.hint))
        self._check_raters(found)
        judged = [judge(one, self) for one in sorted(kept, key=lambda one: natural_key(one.name))]
        problems = [*also, *(problem for _, found_wrong in judged for problem in found_wrong)]
        if problems:
            message = combined_error(
                f"{len(problems)} problem(s) in the data set {root} "
                "(add the files, or leave subjects out by name with dataset.exclude):",
                problems,
            )
            sound = [subject for subject, found_wrong in judged if not found_wrong]
            raise DatasetError(str(message), problems, sound)
        _note_unequal_raters([subject for subject, _ in judged])
        _note_left_out([one.name for one in known if one not in kept], self.contrasts)
        return [subject for subject, _ in judged]

    def _check_exclude(self, found: Sequence[Found]) -> None:
        names = {one.name for one in found}
        unknown = [name for name in self.exclude if name not in names]
        if unknown and names:
            there = f"{did_you_mean(unknown[0], names)}; there are {listing(names)}"
            raise UserError(f"dataset.exclude: no subject '{unknown[0]}'{there}")

    def _check_raters(self, found: Sequence[Found]) -> None:
        raters = {rater for one in found for rater in one.raters}
        wrong = self.raters.unknown(raters) if raters else None
        if wrong:
            raise UserError(wrong)


def _note_unequal_raters(subjects: Sequence[Subject]) -> None:
    """Tell when subjects were drawn by different raters: one of a mask may have been lost."""
    numbers = Counter(len(raters) for one in subjects for raters in one.labels.values())
    if len(numbers) > 1:
        counts = ", ".join(f"{n} raters {times} times" for n, times in sorted(numbers.items()))
        fewest = min(numbers)
        names = [s.name for s in subjects if any(len(r) == fewest for r in s.labels.values())]
        _log.warning("masks have different numbers of raters (%s); fewest: %s", counts,
                     listing(names))  # fmt: skip


def _note_left_out(names: Sequence[str], contrasts: Sequence[str]) -> None:
    """Tell of subjects that have neither an image of these contrasts nor a mask for one."""
    if names:
        _log.warning(
            "%d subject(s) without %s left out: %s", len(names), " or ".join(contrasts),
            listing(names),
        )  # fmt: skip


def _nothing(root: Path, sought: str, hint: str) -> str:
    names = [path.name + "/" * path.is_dir() for path in root.iterdir()]
    holds = f"it holds {listing(names, 6)}" if names else "it is empty"
    return f"dataset.root: no image in {root} ({holds}); looked for {sought}; {hint}"


def judge(found: Found, dataset: DatasetFields) -> tuple[Subject, list[str]]:
    """The subject, and everything that is missing or ambiguous about it."""
    problems: list[str] = []
    images = _images(found, dataset.contrasts, problems)
    labels = {target: _labels(found, target, dataset, problems) for target in dataset.targets}
    roi = _roi(found, dataset, problems) if dataset.roi is not None else None
    problems += _unreadable((found.name, *found.raters))
    subject = Subject(found.name, images, labels, roi, found.columns)
    return subject, [f"{found.name}: {problem}" for problem in problems]


def _unreadable(names: Iterable[str]) -> Iterator[str]:
    """Names that no table could hold, as the system allows any bytes."""
    for name in names:
        if not is_utf8(name):
            yield f"the name {name!a} is not UTF-8 text; rename the files"


def _images(found: Found, contrasts: Sequence[str], problems: list[str]) -> dict[str, Path]:
    images = {}
    for contrast in contrasts:
        files = found.images.get(contrast, [])
        if not files:
            problems.append(f"no {contrast} image (looked for {found.sought[f'image {contrast}']})")
        elif len(files) > 1:
            problems.append(f"{len(files)} files match {contrast}: {_joined(files)}")
        else:
            images[contrast] = files[0]
    return images


def _labels(
    found: Found, target: str, dataset: DatasetFields, problems: list[str]
) -> dict[str, Path]:
    """Rater -> mask of one target."""
    masks = found.labels.get(target, [])
    if not masks:
        problems.append(f"no mask of {target} (looked for {_sought(found, target)})")
        return {}
    contrasts = {mask.contrast for mask in masks}
    if len(contrasts) > 1:
        problems.append(
            f"masks of {target} for several contrasts ({listing(contrasts)}): "
            f"choose one with dataset.targets.{target}.contrast"
        )
        return {}
    raters = _raters(masks, target, problems)
    wrong = dataset.raters.missing(raters)
    if wrong:
        place = _sought(found, target, dataset.raters.chosen)
        problems.append(
            f"dataset.raters.fusion: {wrong} (looked for the mask of {target}: {place})"
        )
    problems += _lacking(found, target, raters, dataset.raters)
    return raters


def _lacking(found: Found, target: str, raters: Collection[str], rule: Raters) -> Iterator[str]:
    """What is wrong where somebody who is named by a table, or required, has no mask."""
    there = f"there are {listing(raters)}"
    if set(raters) == {""}:
        there = "its masks are not told apart by {rater}"
    lost = found.lost.get(target, [])
    for name in lost:
        place = _sought(found, target, name)
        yield f"no mask of {target}{_by(name)} (looked for {place}; {there})"
    for name in rule.lacking([*raters, *lost]):
        place = _sought(found, target, name)
        told = f"looked for {place}; {there}; see dataset.raters.required"
        yield f"no mask of {target}{_by(name)} ({told})"
    if rule.too_few(raters):
        told = f"looked for {_sought(found, target)}; {there}"
        few = f"{len(raters)} mask(s) of {target}"
        yield f"{few}, but dataset.raters.required is {rule.required} ({told})"


def _sought(found: Found, target: str, rater: str | None = None) -> str:
    """Where the mask of a target was looked for, that of one rater or any."""
    own = found.sought.get(f"mask {target} by rater {rater}")
    return own or found.sought[f"mask {target}"].replace("{rater}", rater or "*")


def _raters(masks: Sequence[Mask], target: str, problems: list[str]) -> dict[str, Path]:
    files: dict[str, list[Path]] = {}
    for mask in masks:
        files.setdefault(mask.rater, []).append(mask.path)
    for rater, paths in files.items():
        if len(paths) > 1:
            what = f"the mask of {target}{_by(rater)}"
            problems.append(f"{len(paths)} files match {what}: {_joined(paths)}")
    return {rater: paths[0] for rater, paths in files.items()}


def _by(rater: str) -> str:
    return f" by rater {rater}" if rater else ""


def _roi(found: Found, dataset: DatasetFields, problems: list[str]) -> Path | None:
    """The ROI mask; of those named after different contrasts, the one of the first contrast."""
    order = ("", *dataset.contrasts)
    first = min((order.index(mask.contrast) for mask in found.rois), default=0)
    files = [mask.path for mask in found.rois if mask.contrast == order[first]]
    if len(files) > 1:
        problems.append(f"{len(files)} files match the ROI mask: {_joined(files)}")
    if files:
        return files[0]
    problems.append(f"no ROI mask (looked for {found.sought['roi']})")
    return None


def _joined(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
