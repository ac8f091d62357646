"""Gather the files that match patterns into subjects (the loader `files`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from softseg.data.loaders.patterns import Pattern
from softseg.data.loaders.read_table import Rows
from softseg.data.loaders.subject_files import MaskFile, SubjectFiles

Matches = dict[Path, dict[str, str]]  # file -> placeholder -> text
Identity = tuple[tuple[str, str], ...]  # placeholders that distinguish subjects, with their texts


@dataclass(frozen=True)
class SearchPatterns:
    """What to look for below `root`: one image pattern, a mask pattern for each target."""

    root: Path
    contrasts: tuple[str, ...]
    image: Pattern
    labels: dict[str, Pattern]
    label_contrasts: dict[str, tuple[str, ...]]
    roi: Pattern | None
    id: Pattern
    rows: Rows


@dataclass
class _SubjectIndex:
    """The subjects of the files that have been added, by name and by identity."""

    patterns: SearchPatterns
    by_name: dict[str, SubjectFiles] = field(default_factory=dict)
    by_identity: dict[Identity, SubjectFiles] = field(default_factory=dict)

    def subject(self, values: Mapping[str, str]) -> SubjectFiles:
        """Return the subject of a file, which is added if it is new."""
        identity = _identity(values)
        name = self.patterns.id.fill(identity)
        if name not in self.by_name:
            rows = self.patterns.rows
            row = rows.get(name) or rows.get(identity.get("subject", ""), {})
            # the sessions of one person share the column `subject`
            person = "_".join(text for key, text in identity.items() if key != "session")
            columns = {**row, **identity, "subject": person if "session" in identity else name}
            self.by_name[name] = SubjectFiles(name, columns, searched=self._searched(identity))
        return self.by_identity.setdefault(tuple(identity.items()), self.by_name[name])

    def _searched(self, identity: dict[str, str]) -> dict[str, str]:
        """Return where the files of a subject are searched; {rater} stays for any rater."""
        patterns = self.patterns
        images = {
            f"image {contrast}": patterns.image.fill({**identity, "contrast": contrast})
            for contrast in patterns.contrasts
        }
        any_rater = {**identity, "rater": "{rater}"}
        masks = {
            f"mask {target}": label.fill(any_rater) for target, label in patterns.labels.items()
        }
        return {**images, **masks, "roi": patterns.roi.fill(identity) if patterns.roi else ""}


def find_subjects(patterns: SearchPatterns) -> list[SubjectFiles]:
    """Return every subject that has an image or a mask, with all its files."""
    root, contrasts = patterns.root, patterns.contrasts
    images = patterns.image.find(root, contrasts)
    masks = {
        target: label.find(root, patterns.label_contrasts[target])
        for target, label in patterns.labels.items()
    }
    rois = patterns.roi.find(root, contrasts) if patterns.roi else {}
    searches = [(patterns.labels[target], matches) for target, matches in masks.items()]
    if patterns.roi:
        searches.append((patterns.roi, rois))
    for pattern, matches in searches:
        # `{subject}.nii.gz` matches `01_mask.nii.gz` too: such a file belongs to the pattern that
        # leaves less open, `{subject}_mask.nii.gz`
        for path in images.keys() & matches.keys():
            del (images if pattern.literals > patterns.image.literals else matches)[path]

    index = _SubjectIndex(patterns)
    for path, values in images.items():
        contrast = values.get("contrast", contrasts[0])
        index.subject(values).images.setdefault(contrast, []).append(path)
    with_images = dict(index.by_identity)
    for target, matches in masks.items():
        for subject, mask in _assigned(patterns.labels[target], matches, with_images, index):
            subject.add_label(target, mask)
    if patterns.roi:
        for subject, mask in _assigned(patterns.roi, rois, with_images, index):
            subject.rois.append(mask)
    return list(index.by_name.values())


def _identity(values: Mapping[str, str]) -> dict[str, str]:
    """Return the placeholders that distinguish subjects."""
    return {key: text for key, text in values.items() if key not in ("contrast", "rater")}


def _assigned(
    pattern: Pattern,
    matches: Matches,
    with_images: Mapping[Identity, SubjectFiles],
    index: _SubjectIndex,
) -> Iterator[tuple[SubjectFiles, MaskFile]]:
    """Yield each mask with every subject whose identity agrees with the placeholders of its path.

    A mask without an image makes a subject by itself, so that the missing image is reported.
    """
    owners: dict[tuple[str, ...], list[SubjectFiles]] = {}
    for identity, subject in with_images.items():
        key = tuple(text for name, text in sorted(identity) if name in pattern.placeholders)
        owners.setdefault(key, []).append(subject)
    for path, values in matches.items():
        key = tuple(text for _, text in sorted(_identity(values).items()))
        mask = MaskFile(path, values.get("contrast", ""), values.get("rater", ""))
        for subject in owners.get(key) or [index.subject(values)]:
            yield subject, mask
