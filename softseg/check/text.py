"""What was checked as lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from softseg.check.check import Checked
from softseg.check.findings import SEVERITIES, Finding, Severity
from softseg.check.volume_statistics import Content, FileFacts, Kind, MaskFacts, by_text, in_mm
from softseg.core.errors import UserError, combined_error
from softseg.data.splits import SETS

SHOWN = 10
"""Findings of one kind that are listed."""


def as_lines(checked: Checked) -> list[str]:
    """What the files are like, a topic a line, then warnings and notes, grouped by kind.

    The errors, which `refusal` tells, are only counted.
    """
    told = [*_grouped(checked, "warning"), *_grouped(checked, "note")]
    return [*summary(checked), *told, _verdict(checked)]


def refusal(checked: Checked) -> UserError | None:
    """The errors as one, with at most 10 lines of a kind; None where there are none."""
    errors = checked.of("error")
    if not errors:
        return None
    heading = (
        f"{len(errors)} problem(s) in the data under {checked.root} "
        "(mend them, or leave subjects out by name with dataset.exclude):"
    )
    kinds: dict[str, list[str]] = {}
    for one in errors:
        kinds.setdefault(one.kind, []).append(str(one))
    return combined_error(
        heading, [line for kind, lines in kinds.items() for line in _at_most(lines, kind)]
    )


def _grouped(checked: Checked, severity: Severity) -> list[str]:
    """A heading for each kind and what to do about it, and below it what it is about."""
    lines = []
    for (kind, do), those in _by_kind(checked.of(severity)).items():
        places = [str(one).removesuffix(f"; {do}") for one in those]
        shown = _at_most(places, kind)
        lines += [f"{severity}: {kind} ({len(those)}): {do}", *(f"  - {line}" for line in shown)]
    return lines


def _by_kind(findings: Iterable[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """Kind and what to do -> the findings."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for one in findings:
        kinds.setdefault((one.kind, one.do), []).append(one)
    return kinds


def _at_most(lines: Sequence[str], kind: str) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"and {more} more: {kind} (--json has all)"] if more > 0 else [])]


def _verdict(checked: Checked) -> str:
    counts = {severity: len(checked.of(severity)) for severity in SEVERITIES}
    told = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
    return ", ".join(told) if told else "no problem found"


_WIDTH = 12
_KINDS = 5  # of shapes and the like that are listed
_VALUES = 10  # of masks


def summary(checked: Checked) -> list[str]:
    """Subjects, files, shapes, zooms, orientations, types on disk; then each contrast and mask."""
    members = [(name, getattr(checked.sets, name)) for name in SETS if checked.sets]
    told = ", ".join(f"{name} {len(names)}" for name, names in members)
    paths = {one.path for one in checked.files}
    firsts = _first_images(checked.files)
    return [
        _line("subjects", f"{len(checked.subjects)}{f' ({told})' if told else ''}"),
        _line("files", f"{len(paths)} read"),
        _line("shape", _counted(firsts, lambda one: by_text(one.shape))),
        _line("zooms", _counted(firsts, lambda one: in_mm(one.zooms))),
        _line("orientation", _counted(firsts, lambda one: one.orientation)),
        *_stored(checked.files),
        *_contrasts(checked.files),
        *_masks(checked.files),
    ]


def _line(topic: str, text: str) -> str:
    return f"{topic:<{_WIDTH}}{text}" if len(topic) < _WIDTH else f"{topic}  {text}"


def _first_images(files: Iterable[FileFacts]) -> list[Content]:
    """The first contrast of each subject: the others lie on its grid."""
    firsts: dict[str, Content] = {}
    for one in files:
        firsts.setdefault(one.subject, one.content)
    return list(firsts.values())


def _counted(contents: Sequence[Content], text_of: Callable[[Content], str]) -> str:
    """`RAS (12), LPS (1)`: the most frequent first, at most 5."""
    counts = Counter(text_of(one) for one in contents).most_common()
    shown = ", ".join(f"{text} ({count})" for text, count in counts[:_KINDS])
    more = len(counts) - _KINDS
    return (shown or "none") + (f" and {more} more" if more > 0 else "")


def _stored(files: Iterable[FileFacts]) -> list[str]:
    contents = {(one.kind, one.subject, one.path): one.content for one in files}
    kinds: tuple[Kind, ...] = ("image", "mask", "roi")
    of_kind = {kind: [one for (k, _, _), one in contents.items() if k == kind] for kind in kinds}
    told = [f"{k}s {_counted(them, lambda one: one.dtype)}" for k, them in of_kind.items() if them]
    return [_line("stored as", "; ".join(told))] if told else []


def _contrasts(files: Iterable[FileFacts]) -> list[str]:
    contrasts: dict[str, list[Content]] = {}
    for one in files:
        if one.kind == "image":
            contrasts.setdefault(one.name, []).append(one.content)
    return [_line(name, _of_images(them)) for name, them in contrasts.items()]


def _of_images(images: Sequence[Content]) -> str:
    voxels = [value for one in images for value in (one.minimum, one.maximum)]
    medians = [one.median for one in images]
    return (
        f"{len(images)} images, voxels {_range(voxels)}, "
        f"medians of those other than 0: {_range(medians)}"
    )


def _masks(files: Iterable[FileFacts]) -> list[str]:
    targets: dict[str, list[MaskFacts]] = {}
    for one in files:
        if one.mask is not None:
            targets.setdefault(one.name or "roi", []).append(one.mask)
    return [_line(name, _of_masks(them)) for name, them in targets.items()]


def _of_masks(masks: Sequence[MaskFacts]) -> str:
    drawn = [one for one in masks if not one.is_empty]
    softness = [100 * one.soft_share for one in drawn]
    values = sorted({value for one in masks for value in one.values})
    most = max(len(values), *(one.distinct for one in masks))
    shown = " ".join(f"{value:.3g}" for value in values[:_VALUES])
    more = f" .. ({most} or more)" if most > _VALUES else ""
    return (
        f"{len(masks)} masks, {len(masks) - len(drawn)} empty, values {shown}{more}, "
        f"soft voxels {_range(softness)} %, volume {_range([one.volume_ml for one in drawn])} ml"
    )


def _range(values: Sequence[float]) -> str:
    known = [value for value in values if value == value]  # not NaN
    if not known:
        return "none"
    low, high = min(known), max(known)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
