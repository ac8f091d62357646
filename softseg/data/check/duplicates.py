"""The same voxels under several names: scans copied, masks of two subjects or raters mixed up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from softseg.data.check.division import set_of
from softseg.data.check.facts import FileFacts
from softseg.data.check.findings import Finding
from softseg.data.names import natural
from softseg.data.split_file import Sets

_WHICH = "find out which of them is right, and leave the others out with dataset.exclude"
_ONE_SIDE = "keep it on one side of the split: leave the others out with dataset.exclude"
_RATERS = "check that a rater's mask was not saved again under another's name"


def duplicates(files: Sequence[FileFacts], sets: Sets | None) -> Iterator[Finding]:
    """Images, masks of different subjects and masks of different raters with the same voxels.

    The same image in the test set and in another is an error. Constant images and empty masks,
    which are alike without being copies, are left to the findings about them.
    """
    images = [one for one in files if one.kind == "image" and not one.content.is_constant]
    masks = [one for one in files if one.kind == "mask" and one.mask and not one.mask.is_empty]
    for group in _alike(images):
        yield _same_image(group, sets)
    for group in _alike(masks):
        if len({one.subject for one in group}) > 1:
            what = f"is the same mask as {_others(group, sets)}"
            yield _about(group, "same mask for two subjects", what, _WHICH)
    yield from _same_raters(masks)


def _alike(files: Iterable[FileFacts]) -> list[list[FileFacts]]:
    """Groups of several files (or one file of several subjects) with the same voxels."""
    groups: dict[str, dict[tuple[str, Path], FileFacts]] = {}
    for one in sorted(files, key=lambda one: (natural(one.subject), natural(one.path.as_posix()))):
        groups.setdefault(one.content.digest, {}).setdefault((one.subject, one.path), one)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _same_image(group: Sequence[FileFacts], sets: Sets | None) -> Finding:
    where = {set_of(one.subject, sets) for one in group}
    learned = {"train": "training", "validation": "validation"}
    own = f" ({set_of(group[0].subject, sets)})" if sets else ""
    what = f"has the same voxels{own} as {_others(group, sets)}"
    if "test" in where and where & learned.keys():
        said = " and ".join(word for name, word in learned.items() if name in where)
        return _about(group, f"same image content in {said} and test", what, _ONE_SIDE, True)
    return _about(group, "same image content", what, _WHICH)


def _same_raters(masks: Iterable[FileFacts]) -> Iterator[Finding]:
    """Masks of one subject and target by several raters."""
    drawn: dict[tuple[str, str], list[FileFacts]] = {}
    for one in masks:
        drawn.setdefault((one.subject, one.name), []).append(one)
    for several in drawn.values():
        for group in _alike(several):
            what = f"is the same mask as {_others(group, None)}"
            yield _about(group, "same mask by two raters", what, _RATERS)


def _others(group: Sequence[FileFacts], sets: Sets | None) -> str:
    """All of a group but the first, each with its set where there are sets."""
    first, *others = group
    return ", ".join(
        (f"that of {one.subject}, the same file" if one.path == first.path else str(one.path))
        + (f" ({set_of(one.subject, sets)})" if sets else "")
        for one in others
    )


def _about(
    group: Sequence[FileFacts], kind: str, what: str, do: str, is_error: bool = False
) -> Finding:
    first = group[0]
    return Finding("error" if is_error else "warning", kind, what, do, first.subject, first.path)
