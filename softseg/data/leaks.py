"""Leaks between the sets of a split: one person, or one image, in two of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from softseg.core.errors import combined_error
from softseg.core.names import listing, natural_key
from softseg.data.splits import SETS, Sets, Split, set_of
from softseg.data.subject import Subject

_log = logging.getLogger(__name__)
_SET_NAMES = {"train": "training", "validation": "validation", "test": "test"}


def person_leaks(subjects: Iterable[Subject], sets: Sets) -> list[str]:
    """Return a line for each person with scans in two sets, and their names in each set.

    A person is known by the column `subject` (all sessions in BIDS) or `person`.
    """
    of_person: dict[str, set[str]] = {}
    for subject in subjects:
        if subject.name in sets.members:
            for person in (subject.columns.get("subject", subject.name), subject.person):
                of_person.setdefault(person, set()).add(subject.name)
    return [
        f"person {person} is in several sets ({text})"
        for person, text in _in_several_sets(of_person, sets)
    ]


def image_leaks(digests: Mapping[str, Sequence[str]], sets: Sets) -> list[str]:
    """Return a line for each image that subjects of two sets share, voxel by voxel.

    `digests`: subject -> the digests of its native images (of any contrast); an empty digest is
    that of a constant image, which proves nothing.
    """
    of_image: dict[str, set[str]] = {}
    for name, images in digests.items():
        for digest in images:
            if digest and name in sets.members:
                of_image.setdefault(digest, set()).add(name)
    texts = dict.fromkeys(text for _, text in _in_several_sets(of_image, sets))
    return [f"one image, identical in every voxel, is in several sets ({text})" for text in texts]


def _in_several_sets(groups: Mapping[str, set[str]], sets: Sets) -> Iterator[tuple[str, str]]:
    """Yield each group with members in two sets, and `training: a, b; test: c`."""
    for group in sorted(groups, key=natural_key):
        members = {
            _SET_NAMES[name]: [member for member in groups[group] if set_of(member, sets) == name]
            for name in SETS
        }
        if sum(map(bool, members.values())) > 1:
            texts = (f"{name}: {listing(names, 5)}" for name, names in members.items() if names)
            yield group, "; ".join(texts)


def check_leaks(leaks: Sequence[str], split: Split) -> None:
    """Raise UserError for any leaks; with `split.allow_leak`, log each as a warning."""
    if leaks and not split.allow_leak:
        source = f"correct {split.file}" if split.file else "use split.by: subject"
        raise combined_error(
            f"{len(leaks)} leak(s) between the sets; scores of the test set would be too good "
            f"({source}, or leave the copies out with dataset.exclude; if it is intended, set "
            "split.allow_leak: true):",
            leaks,
        )
    for leak in leaks:
        _log.warning("%s (split.allow_leak)", leak)
