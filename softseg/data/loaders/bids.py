"""The loader `bids`: images told by their exact entities, masks in `derivatives/`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator

from softseg.data.loaders.base import DatasetFields
from softseg.data.loaders.patterns import Pattern, check_pattern
from softseg.data.loaders.read_table import Rows, read_table
from softseg.data.loaders.subject_files import Found, Mask
from softseg.data.nifti.stem import nifti_stem
from softseg.data.subject import Subject

_CONTRAST = re.compile(r"([A-Za-z0-9]+-[A-Za-z0-9]+_)*[A-Za-z0-9]+")
Signature = tuple[frozenset[str], str]


class BidsDataset(DatasetFields):
    """Subjects from a BIDS data set.

    A contrast names every entity but sub and ses: `T1w` is never `ce-gad_T1w`, which is a contrast
    of its own. Each session is a subject of its own, `sub-X_ses-Y`; the column `subject` keeps the
    sessions of a person together. The columns of participants.tsv can be used by splits.
    """

    loader: Literal["bids"] = "bids"
    derivatives: str = "labels"
    """Folder below derivatives/ that holds the masks, in the same tree as the images."""
    roi: str | None = None
    """What follows the image's name in the ROI mask's, e.g. seg-manual; null: there is none."""

    @field_validator("contrasts")
    @classmethod
    def _entities(cls, contrasts: tuple[str, ...]) -> tuple[str, ...]:
        for contrast in contrasts:
            if not _CONTRAST.fullmatch(contrast) or {"sub", "ses"} & _keys(contrast):
                raise ValueError(
                    f"'{contrast}' is no contrast: name the entities other than sub and ses, "
                    "and the suffix, e.g. T1w or ce-gad_T1w"
                )
        if len({_signature(contrast) for contrast in contrasts}) < len(contrasts):
            raise ValueError("one contrast is named twice, its entities in another order")
        return contrasts

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, target in self.targets.items():
            if target.label is not None:
                raise ValueError(
                    f"targets.{name}.label: is for the loader files; here it is "
                    f"targets.{name}.suffix"
                )
            if target.suffix is None:
                raise ValueError(f"targets.{name}.suffix: write it, e.g. suffix: seg-manual")
            _check_suffix(f"targets.{name}.suffix", target.suffix, ("rater",))
        if self.roi is not None:
            _check_suffix("roi", self.roi, ())
        return self

    def __call__(self) -> list[Subject]:
        """Find the subjects, in natural order of their names.

        Raises UserError when the root is not there, when nothing matches, or, in one error, for
        every image or mask that is missing or matched twice.
        """
        root = self.existing_root()
        rows = _participants(root)
        found = [self._find(root, scan, rows) for scan in _scans(root, self._masks_at(root))]
        return self.settle(root, found, self._image_path("sub-*/*/sub-*"))

    def _masks_at(self, root: Path) -> Path:
        return root / "derivatives" / self.derivatives

    def _image_path(self, stem: str) -> str:
        return " or ".join(f"{stem}_{contrast}.nii.gz" for contrast in self.contrasts)

    def _find(self, root: Path, scan: _Scan, rows: Rows) -> Found:
        found = Found(scan.name, scan.columns(rows), sought=self._sought(scan))
        wanted = {_signature(contrast): contrast for contrast in self.contrasts}
        for path, stem in scan.files(root):
            contrast = wanted.get(_signature(stem))
            if contrast is not None:
                found.images.setdefault(contrast, []).append(path)
        masks = list(scan.files(self._masks_at(root)))
        for name, target in self.targets.items():
            contrasts = (target.contrast,) if target.contrast else self.contrasts
            for mask in _named(masks, target.suffix or "", contrasts):
                found.add_label(name, mask)
        if self.roi is not None:
            found.rois.extend(_named(masks, self.roi, self.contrasts))
        return found

    def _sought(self, scan: _Scan) -> dict[str, str]:
        """What is looked for in one scan's folder, for the message when it is not there."""
        stem = f"{scan.folder}/*/{scan.name}"
        images = {f"image {c}": f"{stem}_{c}.nii.gz" for c in self.contrasts}
        masks = {
            f"mask {name}": self._mask_path(stem, target.suffix or "", target.contrast)
            for name, target in self.targets.items()
        }
        return {**images, **masks, "roi": self._mask_path(stem, self.roi or "", None)}

    def _mask_path(self, stem: str, suffix: str, contrast: str | None) -> str:
        named_after = contrast or (self.contrasts[0] if len(self.contrasts) == 1 else "*")
        ending = Pattern(suffix).fill({"rater": "{rater}"})  # left open, for whoever is looked for
        return f"derivatives/{self.derivatives}/{stem}_{named_after}_{ending}.nii.gz"


@dataclass(frozen=True)
class _Scan:
    """One session of one person: `sub-X`, or `sub-X` and `ses-Y`."""

    subject: str
    session: str = ""

    @property
    def name(self) -> str:
        return f"{self.subject}_{self.session}" if self.session else self.subject

    @property
    def folder(self) -> str:
        return f"{self.subject}/{self.session}" if self.session else self.subject

    def columns(self, rows: Rows) -> dict[str, str]:
        row = rows.get(self.subject) or rows.get(self.subject.removeprefix("sub-"), {})
        session = {"session": self.session} if self.session else {}
        return {**row, **session, "subject": self.subject}

    def files(self, base: Path) -> Iterator[tuple[Path, str]]:
        """Its NIfTI files in every datatype's folder, each with its stem after sub and ses."""
        prefix = f"{self.name}_"
        for path in sorted((base / self.folder).glob(f"*/{prefix}*")):
            stem = nifti_stem(path)
            if stem:
                yield path, stem.removeprefix(prefix)


def _scans(*bases: Path) -> list[_Scan]:
    """Every session of every person of whom one of the trees has a folder."""
    scans = dict.fromkeys(
        _Scan(person.name, session)
        for base in bases
        for person in sorted(base.glob("sub-*/"))
        for session in ("", *(path.name for path in sorted(person.glob("ses-*/"))))
    )
    sessioned = {scan.subject for scan in scans if scan.session}
    return [
        scan for scan in scans if scan.session or scan.subject not in sessioned or
        any(True for base in bases for _ in scan.files(base))
    ]  # fmt: skip


def _participants(root: Path) -> Rows:
    path = root / "participants.tsv"
    return read_table(path, "participant_id") if path.is_file() else {}


def _keys(contrast: str) -> set[str]:
    return {entity.split("-")[0] for entity in contrast.split("_")[:-1]}


def _signature(stem: str) -> Signature:
    """The entities and the suffix, whatever the entities' order."""
    *entities, suffix = stem.split("_")
    return frozenset(entities), suffix


def _named(
    files: list[tuple[Path, str]], suffix: str, contrasts: tuple[str, ...]
) -> Iterator[Mask]:
    """The masks whose name is that of an image of these contrasts, followed by the suffix."""
    wanted = {_signature(contrast): contrast for contrast in contrasts}
    regex = re.compile(r"(?P<image>.+)_" + Pattern(suffix).regex({"rater": "[^_]+"}).pattern)
    for path, stem in files:
        match = regex.fullmatch(stem)
        contrast = wanted.get(_signature(match["image"])) if match else None
        if match and contrast is not None:
            yield Mask(path, contrast, match.groupdict().get("rater", ""))


def _check_suffix(key: str, suffix: str, placeholders: tuple[str, ...]) -> None:
    check_pattern(suffix)
    wrong = [name for name in Pattern(suffix).placeholders if name not in placeholders]
    if wrong or set("/*.") & set(suffix):
        known = " (but {rater})" if placeholders else ""
        raise ValueError(f"{key}: {suffix!r} holds more than letters, digits, `-`, `_`{known}")
