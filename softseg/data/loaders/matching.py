"""Files that match patterns, gathered into subjects (the loader `files`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from softseg.data.loaders.patterns import Pattern
from softseg.data.loaders.read_table import Rows
from softseg.data.loaders.subject_files import Found, Mask

Values = Mapping[str, str]  # placeholder -> text
Matches = dict[Path, dict[str, str]]


@dataclass(frozen=True)
class Search:
    """What to look for below `root`: one image pattern, a mask pattern for each target."""

    root: Path
    contrasts: tuple[str, ...]
    image: Pattern
    labels: dict[str, Pattern]
    label_contrasts: dict[str, tuple[str, ...]]
    roi: Pattern | None
    id: Pattern
    rows: Rows

    def identity(self, values: Values) -> dict[str, str]:
        """The placeholders that tell subjects apart."""
        return {n: v for n, v in values.items() if n not in ("contrast", "rater")}


@dataclass
class _Gathered:
    search: Search
    subjects: dict[str, Found] = field(default_factory=dict)
    identities: dict[tuple[tuple[str, str], ...], Found] = field(default_factory=dict)

    def subject(self, values: Values) -> Found:
        """The subject of a file, made if it is new."""
        identity = self.search.identity(values)
        name = self.search.id.fill(identity)
        if name not in self.subjects:
            columns = _columns(name, identity, self.search.rows)
            self.subjects[name] = Found(name, columns, sought=_sought(identity, self.search))
        return self.identities.setdefault(tuple(identity.items()), self.subjects[name])


def find_subjects(search: Search) -> list[Found]:
    """Every subject that an image or a mask speaks of, with all its files."""
    images = search.image.find(search.root, search.contrasts)
    masks = {
        target: pattern.find(search.root, search.label_contrasts[target])
        for target, pattern in search.labels.items()
    }
    rois = search.roi.find(search.root, search.contrasts) if search.roi else {}
    patterns = [*search.labels.values(), *([search.roi] if search.roi else [])]
    for pattern, matches in zip(patterns, [*masks.values(), rois], strict=False):
        _tell_apart(search.image, images, pattern, matches)
    return _gather(search, images, masks, rois)


def _tell_apart(image: Pattern, images: Matches, mask: Pattern, masks: Matches) -> None:
    """A file that matches both patterns belongs to the one that leaves less open.

    `{subject}.nii.gz` matches `01_mask.nii.gz` too; `{subject}_mask.nii.gz` says more.
    """
    for path in images.keys() & masks.keys():
        del (images if mask.literals > image.literals else masks)[path]


def _gather(
    search: Search, images: Matches, masks: Mapping[str, Matches], rois: Matches
) -> list[Found]:
    gathered = _Gathered(search)
    for path, values in images.items():
        contrast = values.get("contrast", search.contrasts[0])
        gathered.subject(values).images.setdefault(contrast, []).append(path)
    known = dict(gathered.identities)
    for target, matches in masks.items():
        for one, mask in _owned(search.labels[target], matches, known, gathered):
            one.add_label(target, mask)
    for one, mask in _owned(search.roi, rois, known, gathered) if search.roi else ():
        one.rois.append(mask)
    return list(gathered.subjects.values())


def _owned(
    pattern: Pattern,
    matches: Matches,
    known: Mapping[tuple[tuple[str, str], ...], Found],
    gathered: _Gathered,
) -> list[tuple[Found, Mask]]:
    """Each mask with the subjects it belongs to: those that agree in what its path tells.

    A mask of which there is no image makes a subject of its own, to be reported.
    """
    owners: dict[tuple[str, ...], list[Found]] = {}
    for parts, one in known.items():
        key = tuple(v for n, v in sorted(parts) if n in pattern.placeholders)
        owners.setdefault(key, []).append(one)
    owned = []
    for path, values in matches.items():
        identity = gathered.search.identity(values)
        key = tuple(v for _, v in sorted(identity.items()))
        mask = Mask(path, values.get("contrast", ""), values.get("rater", ""))
        owned += [(one, mask) for one in owners.get(key) or [gathered.subject(identity)]]
    return owned


def _columns(name: str, identity: Values, rows: Rows) -> dict[str, str]:
    """What splits can go by. The sessions of one person share the column `subject`."""
    row = rows.get(name) or rows.get(identity.get("subject", ""), {})
    person = "_".join(v for n, v in identity.items() if n != "session")
    return {**row, **identity, "subject": person if "session" in identity else name}


def _sought(identity: Values, search: Search) -> dict[str, str]:
    images = {
        f"image {c}": search.image.fill({**identity, "contrast": c}) for c in search.contrasts
    }
    told = {**identity, "rater": "{rater}"}  # left open, for whoever is looked for
    masks = {f"mask {t}": pattern.fill(told) for t, pattern in search.labels.items()}
    return {**images, **masks, "roi": search.roi.fill(identity) if search.roi else ""}
