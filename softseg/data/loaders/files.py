"""The loader `files`: any layout of plain files, described by path patterns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from softseg.data.loaders.base import DatasetFields
from softseg.data.loaders.patterns import PathPattern, Pattern, check_pattern
from softseg.data.loaders.table import SessionRows, read_session_rows
from softseg.data.subject import MaskFile, Subject, SubjectFiles

Matches = dict[Path, dict[str, str]]  # file -> placeholder -> text
Identity = tuple[tuple[str, str], ...]  # placeholders that distinguish subjects, with their texts
LayoutName = Literal["scgm", "msseg2016", "msseg2016_raters", "brats2019"]
_ROI = ""  # in place of a target's name


@dataclass(frozen=True)
class Layout:
    """Path patterns below the root, and how to get the data."""

    image: str
    label: str
    id: str
    hint: str  # holds {root}


_NO_LAYOUT = Layout("", "", "", "")

# MICCAI 2016: 3 centers with 5 patients each, numbered from 1 at every center
_PATIENT = "Center_{center}/Patient_{subject}"
_MSSEG2016 = Layout(
    image=f"{_PATIENT}/Preprocessed_Data/{{contrast}}_preprocessed.nii.gz",
    label=f"{_PATIENT}/Masks/Consensus.nii.gz",
    id="center{center}-patient{subject}",
    hint="`softseg data phantom {root} --layout msseg2016` makes a synthetic look-alike; the scans "
    "are available after registration at https://portal.fli-iam.irisa.fr/msseg-challenge/ (root is "
    "the folder that holds Center_01, Center_07 and Center_08)",
)

LAYOUTS: dict[LayoutName, Layout] = {
    # Spinal Cord Gray Matter challenge, ISMRM 2016: 4 centers, 4 raters; 1 gray, 2 white matter
    "scgm": Layout(
        image="site{center}-sc{subject}-image.nii.gz",
        label="site{center}-sc{subject}-mask-r{rater}.nii.gz",
        id="site{center}-sc{subject}",
        hint="`softseg data phantom {root}` makes a synthetic look-alike; the scans are "
        "available after registration at http://niftyweb.cs.ucl.ac.uk/challenge/index.php",
    ),
    "msseg2016": _MSSEG2016,
    # The consensus is not an eighth rater, so the raters have their own layout
    "msseg2016_raters": replace(
        _MSSEG2016, label=f"{_PATIENT}/Masks/ManualSegmentation_{{rater}}.nii.gz"
    ),
    # Brain tumors; 1 necrosis and non-enhancing core, 2 edema, 4 enhancing tumor
    "brats2019": Layout(
        image="{grade}/BraTS19_{subject}/BraTS19_{subject}_{contrast}.nii.gz",
        label="{grade}/BraTS19_{subject}/BraTS19_{subject}_seg.nii.gz",
        id="{subject}",
        hint="`softseg data phantom {root} --layout brats2019` makes a synthetic look-alike; the "
        "scans are available after registration at "
        "https://www.med.upenn.edu/cbica/brats2019/data.html (root is the folder that holds HGG "
        "and LGG)",
    ),
}


class FilesDataset(DatasetFields):
    """Subjects from files that match patterns such as `{subject}/{subject}_{contrast}.nii.gz`.

    Placeholders: {subject} {center} {contrast} {rater} {session} {grade}, each one piece of a path
    without `/`; `*` matches any piece.
    """

    unused_target_keys: ClassVar = {"suffix": "is for the loader bids; here it is label"}

    loader: Literal["files"] = "files"
    layout: LayoutName | None = None
    """A preset of the patterns below: scgm (Spinal Cord Gray Matter challenge), msseg2016 (multiple
    sclerosis lesions, MICCAI 2016, the consensus), msseg2016_raters (the same, its seven raters) or
    brats2019 (brain tumors; grade is a column: HGG, LGG)."""
    image: PathPattern | None = None
    """Pattern of the images, relative to root; must hold {subject}. null: the layout's."""
    label: PathPattern | None = None
    """Pattern of the masks; a target may have its own. null: the layout's."""
    roi: PathPattern | None = None
    """Pattern of the ROI mask; null: there is none."""
    id: str | None = None
    """How a subject's name is made of the placeholders, e.g. site{center}-sc{subject}; null: the
    layout's, or the placeholders other than contrast and rater, joined by `_`."""
    table: str | None = None
    """TSV or CSV, relative to root, with further columns for splits; its first column is the
    subject's name or its {subject}."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Raise ValueError for missing patterns and for placeholders that cannot be used."""
        if self.layout is None and self.image is None:
            raise ValueError("image: write a path pattern, or choose a layout")
        if "subject" not in self._image.placeholders:
            raise ValueError(f"image: {{subject}} is not in the pattern {self._image.text!r}")
        if "contrast" not in self._image.placeholders and len(self.contrasts) > 1:
            raise ValueError("contrasts: more than one needs {contrast} in the image pattern")
        if "/" in self._id.text or "*" in self._id.text:
            raise ValueError("id: a name must not contain `/` or `*`")
        check_pattern(self._id.text)
        _check_placeholders("id", self._id, self._identity)
        _check_placeholders("image", self._image, (*self._identity, "contrast"))
        if self.roi is not None:
            _check_placeholders("roi", Pattern(self.roi), (*self._identity, "contrast"))
        for name, target in self.targets.items():
            key = f"targets.{name}"
            if target.label is not None:
                check_pattern(target.label)
            elif self.layout is None and self.label is None:
                raise ValueError("label: write a path pattern, or choose a layout")
            label = self._label(name)
            _check_placeholders(f"{key}.label", label, (*self._identity, "contrast", "rater"))
            if target.confidence is not None:
                check_pattern(target.confidence)
                confidence = Pattern(target.confidence)
                if "rater" in confidence.placeholders:
                    raise ValueError(
                        f"{key}.confidence: a map is for the masks of all raters together; remove "
                        f"{{rater}} from {target.confidence!r}"
                    )
                _check_placeholders(f"{key}.confidence", confidence, (*self._identity, "contrast"))
            if target.contrast is not None and "contrast" not in label.placeholders:
                raise ValueError(f"{key}.contrast: there is no {{contrast}} in {label.text!r}")
        return self

    @property
    def _preset(self) -> Layout:
        return LAYOUTS[self.layout] if self.layout else _NO_LAYOUT

    @property
    def hint(self) -> str:
        """How to get the data, for the message that they are missing."""
        return self._preset.hint.format(root=self.root) or super().hint

    @property
    def _image(self) -> Pattern:
        return Pattern(self.image or self._preset.image)

    def _label(self, target: str) -> Pattern:
        return Pattern(self.targets[target].label or self.label or self._preset.label)

    @property
    def _identity(self) -> tuple[str, ...]:
        """The placeholders that distinguish subjects."""
        return tuple(name for name in self._image.placeholders if name not in ("contrast", "rater"))

    @property
    def _id(self) -> Pattern:
        # the layout's id goes with the layout's image pattern only
        preset = self._preset.id if self.image is None else ""
        return Pattern(self.id or preset or "_".join(f"{{{name}}}" for name in self._identity))

    @property
    def distinguishes_raters(self) -> bool:
        """Whether a pattern of masks has {rater}."""
        return any("rater" in self._label(target).placeholders for target in self.targets)

    def __call__(self) -> list[Subject]:
        """Find the subjects, in natural order. Raises UserError as `resolve_subjects` does."""
        root = self.existing_root()
        rows = read_session_rows(root / self.table) if self.table else SessionRows({})
        images = self._image.find(root, self.contrasts)
        masks: list[tuple[str, Pattern, Matches]] = []
        confidences: list[tuple[str, Pattern, Matches]] = []
        for name, target in self.targets.items():
            contrasts = (target.contrast,) if target.contrast else self.contrasts
            pattern = self._label(name)
            masks.append((name, pattern, pattern.find(root, contrasts)))
            if target.confidence is not None:
                pattern = Pattern(target.confidence)
                confidences.append((name, pattern, pattern.find(root, contrasts)))
        if self.roi is not None:
            pattern = Pattern(self.roi)
            masks.append((_ROI, pattern, pattern.find(root, self.contrasts)))
        # `{subject}.nii.gz` matches `01_mask.nii.gz` too: such a file belongs to the pattern that
        # leaves less open, `{subject}_mask.nii.gz`
        for _, pattern, matches in (*masks, *confidences):
            _divide(images, self._image, matches, pattern)
        for (name, pattern, matches), (_, other, maps) in product(masks, confidences):
            if name != _ROI:  # which may be a map of confidence, too
                _divide(matches, pattern, maps, other)
        subjects = self._gather(images, masks, confidences, rows)
        return self.resolve_subjects(root, subjects, self._image.text)

    def available_contrasts(self, root: Path) -> set[str]:
        """Return what {contrast} matches in the names of the images; nothing if it is not there."""
        if "contrast" not in self._image.placeholders:
            return set()
        patterns = [self._label(target) for target in self.targets]
        others = (self.roi, *(target.confidence for target in self.targets.values()))
        patterns += [Pattern(text) for text in others if text]
        masks = {path for pattern in patterns for path in pattern.find(root)}
        images = self._image.find(root).items()
        return {values["contrast"] for path, values in images if path not in masks}

    def _gather(
        self,
        images: Matches,
        masks: list[tuple[str, Pattern, Matches]],
        confidences: list[tuple[str, Pattern, Matches]],
        rows: SessionRows,
    ) -> list[SubjectFiles]:
        """Return every subject that has an image or a mask, with all its files.

        A mask belongs to every subject whose identity agrees with the placeholders of its path, and
        so does a map of confidence. A mask without an image makes a subject by itself, so that the
        missing image is reported.
        """
        by_name: dict[str, SubjectFiles] = {}
        by_identity: dict[Identity, SubjectFiles] = {}

        def subject_of(values: Mapping[str, str]) -> SubjectFiles:
            identity = _identity_of(values)
            name = self._id.fill(dict(identity))
            if name not in by_name:
                by_name[name] = self._new_subject(name, dict(identity), rows)
            return by_identity.setdefault(identity, by_name[name])

        for path, values in images.items():
            contrast = values.get("contrast", self.contrasts[0])
            subject_of(values).images[contrast].append(path)
        with_images = dict(by_identity)

        def owners_of(pattern: Pattern, matches: Matches) -> Iterator[tuple[Path, SubjectFiles]]:
            owners: dict[tuple[str, ...], list[SubjectFiles]] = defaultdict(list)
            for identity, subject in with_images.items():
                key = tuple(text for part, text in sorted(identity) if part in pattern.placeholders)
                owners[key].append(subject)
            for path, values in matches.items():
                key = tuple(text for _, text in sorted(_identity_of(values)))
                for subject in owners.get(key) or [subject_of(values)]:
                    yield path, subject

        for name, pattern, matches in masks:
            for path, subject in owners_of(pattern, matches):
                values = matches[path]
                mask = MaskFile(path, values.get("contrast", ""), values.get("rater", ""))
                of_target = subject.rois if name == _ROI else subject.labels[name]
                of_target.append(mask)
        for name, pattern, matches in confidences:
            for path, subject in owners_of(pattern, matches):
                subject.confidences[name].append(path)
        return list(by_name.values())

    def _new_subject(self, name: str, identity: dict[str, str], rows: SessionRows) -> SubjectFiles:
        """Return a subject without files: its columns, and where its files are searched."""
        names = (name, identity.get("subject", ""))
        row = rows.find(names, identity.get("session", "")) or {}
        # the sessions of one person share the column `subject`
        person = "_".join(text for part, text in identity.items() if part != "session")
        columns = {**row, **identity, "subject": person if "session" in identity else name}
        searched = {
            f"image {contrast}": self._image.fill({**identity, "contrast": contrast})
            for contrast in self.contrasts
        }
        for target in self.targets:
            # {rater} stays, for any rater
            searched[f"mask {target}"] = self._label(target).fill({**identity, "rater": "{rater}"})
            confidence = Pattern(self.targets[target].confidence or "")
            searched[f"confidence {target}"] = confidence.fill(identity)
        searched["roi"] = Pattern(self.roi).fill(identity) if self.roi else ""
        return SubjectFiles(name, columns, searched=searched)


def _divide(first: Matches, pattern: Pattern, second: Matches, other: Pattern) -> None:
    """Leave a file that matches two patterns to the one with more fixed characters."""
    for path in first.keys() & second.keys():
        del (first if other.literals > pattern.literals else second)[path]


def _identity_of(values: Mapping[str, str]) -> Identity:
    """Return the placeholders that distinguish subjects, with their texts."""
    return tuple((part, text) for part, text in values.items() if part not in ("contrast", "rater"))


def _check_placeholders(key: str, pattern: Pattern, usable: tuple[str, ...]) -> None:
    """Raise ValueError for a placeholder that the image pattern does not determine."""
    for name in pattern.placeholders:
        if name not in usable:
            raise ValueError(f"{key}: {{{name}}} cannot be used in {pattern.text!r}")
