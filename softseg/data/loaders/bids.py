"""The loader `bids`: images selected by their exact entities, masks in `derivatives/`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from softseg.core.names import listing
from softseg.data.loaders.base import DatasetFields
from softseg.data.loaders.participants import ParticipantTables
from softseg.data.loaders.patterns import Pattern, check_pattern
from softseg.data.nifti.io import nifti_stem
from softseg.data.subject import MaskFile, Subject, SubjectFiles

_CONTRAST = re.compile(r"([A-Za-z0-9]+-[A-Za-z0-9]+_)*[A-Za-z0-9]+")
Signature = tuple[frozenset[str], str]  # entities and suffix


class BidsDataset(DatasetFields):
    """Subjects from a BIDS dataset.

    A contrast names every entity except sub and ses: `T1w` never matches `ce-gad_T1w`, which is a
    contrast by itself. Each session is a subject by itself, `sub-X_ses-Y`; the column `subject`
    keeps the sessions of a person together. Splits can use the columns of participants.tsv (which
    may have a line for each session, with a column session_id) and of sub-X/sub-X_sessions.tsv.
    """

    unused_target_keys: ClassVar = {"label": "is for the loader files; here it is suffix"}

    loader: Literal["bids"] = "bids"
    derivatives: str = "labels"
    """Folder below derivatives/ that holds the masks, in the same tree as the images."""
    roi: str | None = None
    """What follows the image's name in the ROI mask's name, e.g. seg-manual; null: there is
    none."""

    @field_validator("contrasts")
    @classmethod
    def _check_contrasts(cls, contrasts: tuple[str, ...]) -> tuple[str, ...]:
        """Raise ValueError for a contrast with sub or ses, and for two of the same entities."""
        for contrast in contrasts:
            keys = {entity.split("-")[0] for entity in contrast.split("_")[:-1]}
            if not _CONTRAST.fullmatch(contrast) or {"sub", "ses"} & keys:
                raise ValueError(
                    f"'{contrast}' is not a contrast: name the entities other than sub and ses, "
                    "and the suffix, e.g. T1w or ce-gad_T1w"
                )
        if len({_signature(contrast) for contrast in contrasts}) < len(contrasts):
            raise ValueError("one contrast is named twice, its entities in another order")
        return contrasts

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Raise ValueError for keys of targets and ROI that this loader cannot use."""
        for name, target in self.targets.items():
            key = f"targets.{name}"
            if target.suffix is None:
                raise ValueError(f"{key}.suffix: write it, e.g. suffix: seg-manual")
            _check_suffix(f"{key}.suffix", target.suffix, ("rater",))
            if target.confidence is not None:
                _check_suffix(f"{key}.confidence", target.confidence, ())
        if self.roi is not None:
            _check_suffix("roi", self.roi, ())
        return self

    @property
    def distinguishes_raters(self) -> bool:
        """Whether a suffix of masks has {rater}."""
        suffixes = [Pattern(target.suffix or "") for target in self.targets.values()]
        return any("rater" in suffix.placeholders for suffix in suffixes)

    def __call__(self) -> list[Subject]:
        """Find the subjects, in natural order. Raises UserError as `resolve_subjects` does."""
        root = self.existing_root()
        tables = ParticipantTables(root)
        masks_root = root / "derivatives" / self.derivatives
        files = [
            self._subject_files(root, masks_root, session, tables)
            for session in _list_sessions(root, masks_root)
        ]
        tables.warn_of_missing_lines()
        images = " or ".join(f"sub-*/*/sub-*_{contrast}.nii.gz" for contrast in self.contrasts)
        return self.resolve_subjects(root, files, images)

    def available_contrasts(self, root: Path) -> set[str]:
        """Return the entities and suffix of every image: `T1w`, `ce-gad_T1w`."""
        return {stem for session in _list_sessions(root) for _, stem in session.files(root)}

    def _subject_files(
        self, root: Path, masks_root: Path, session: _Session, tables: ParticipantTables
    ) -> SubjectFiles:
        """Return the images, masks and ROI masks of one session."""
        searched = self._search_paths(session)
        files = SubjectFiles(session.name, session.columns(tables), searched=searched)
        wanted = {_signature(contrast): contrast for contrast in self.contrasts}
        for path, stem in session.files(root):
            contrast = wanted.get(_signature(stem))
            if contrast is not None:
                files.images[contrast].append(path)
        derivatives = list(session.files(masks_root))
        for name, target in self.targets.items():
            contrasts = (target.contrast,) if target.contrast else self.contrasts
            maps = _masks_of(derivatives, target.confidence, contrasts) if target.confidence else ()
            files.confidences[name] = [file.path for file in maps if file.path is not None]
            for mask in _masks_of(derivatives, target.suffix or "", contrasts):
                if mask.path not in files.confidences[name]:  # seg-{rater} fits seg-confidence, too
                    files.labels[name].append(mask)
        if self.roi is not None:
            files.rois.extend(_masks_of(derivatives, self.roi, self.contrasts))
        for kind, paths in (("image", session.files(root)), ("mask", derivatives)):
            unused = _unused(files, (path for path, _ in paths))
            for key in searched:
                searched[key] += unused if key.startswith(f"{kind} ") else ""
        return files

    def _search_paths(self, session: _Session) -> dict[str, str]:
        """Return where the files of a session are searched, for the message that one is missing."""
        stem = f"{session.folder}/*/{session.name}"

        def mask(suffix: str | None, contrast: str | None) -> str:
            contrast = contrast or (self.contrasts[0] if len(self.contrasts) == 1 else "*")
            ending = Pattern(suffix or "").fill({"rater": "{rater}"})  # stays for any rater
            return f"derivatives/{self.derivatives}/{stem}_{contrast}_{ending}.nii.gz"

        images = {f"image {contrast}": f"{stem}_{contrast}.nii.gz" for contrast in self.contrasts}
        masks = {
            f"mask {name}": mask(target.suffix, target.contrast)
            for name, target in self.targets.items()
        }
        maps = {
            f"confidence {name}": mask(target.confidence, target.contrast)
            for name, target in self.targets.items()
        }
        return {**images, **masks, **maps, "roi": mask(self.roi, None)}


@dataclass(frozen=True)
class _Session:
    """One session of one person: `sub-X`, or `sub-X` and `ses-Y`."""

    subject: str
    session: str = ""

    @property
    def name(self) -> str:
        return f"{self.subject}_{self.session}" if self.session else self.subject

    @property
    def folder(self) -> str:
        return f"{self.subject}/{self.session}" if self.session else self.subject

    def columns(self, tables: ParticipantTables) -> dict[str, str]:
        row = tables.row(self.subject, self.session)
        session = {"session": self.session} if self.session else {}
        return {**row, **session, "subject": self.subject}

    def files(self, root: Path) -> Iterator[tuple[Path, str]]:
        """Yield the NIfTI files in every datatype's folder, with their stem after sub and ses."""
        prefix = f"{self.name}_"
        for path in sorted((root / self.folder).glob(f"*/{prefix}*")):
            stem = nifti_stem(path)
            if stem:
                yield path, stem.removeprefix(prefix)


def _list_sessions(*roots: Path) -> list[_Session]:
    """Return every session of every person who has a folder below one of the roots."""
    sessions = dict.fromkeys(
        _Session(person.name, session)
        for root in roots
        for person in sorted(root.glob("sub-*/"))
        for session in ("", *(path.name for path in sorted(person.glob("ses-*/"))))
    )
    with_sessions = {session.subject for session in sessions if session.session}
    return [
        session
        for session in sessions
        if session.session
        or session.subject not in with_sessions
        or any(True for root in roots for _ in session.files(root))
    ]


def _signature(stem: str) -> Signature:
    """Return the entities, in any order, and the suffix."""
    *entities, suffix = stem.split("_")
    return frozenset(entities), suffix


def _masks_of(
    files: list[tuple[Path, str]], suffix: str, contrasts: tuple[str, ...]
) -> Iterator[MaskFile]:
    """Yield the files named like an image of these contrasts, followed by the mask's suffix."""
    wanted = {_signature(contrast): contrast for contrast in contrasts}
    regex = re.compile(r"(?P<image>.+)_" + Pattern(suffix).regex({"rater": "[^_]+"}).pattern)
    for path, stem in files:
        match = regex.fullmatch(stem)
        contrast = wanted.get(_signature(match["image"])) if match else None
        if match and contrast is not None:
            yield MaskFile(path, contrast, match.groupdict().get("rater", ""))


def _unused(files: SubjectFiles, paths: Iterable[Path]) -> str:
    """Return `; there is x.nii.gz`: files of a session that are no input, maybe misspelled ones."""
    masks = [*files.rois, *(mask for masks in files.labels.values() for mask in masks)]
    used = {mask.path for mask in masks}
    used |= {p for own in (*files.images.values(), *files.confidences.values()) for p in own}
    unused = listing((path.name for path in paths if path not in used), limit=3)
    return f"; there is {unused}" if unused else ""


def _check_suffix(key: str, suffix: str, placeholders: tuple[str, ...]) -> None:
    """Raise ValueError for a suffix that could not be a part of a name in BIDS."""
    check_pattern(suffix)
    unusable = [name for name in Pattern(suffix).placeholders if name not in placeholders]
    if unusable or set("/*.") & set(suffix):
        exception = " (except {rater})" if placeholders else ""
        raise ValueError(
            f"{key}: {suffix!r} must contain only letters, digits, `-` and `_`{exception}"
        )
