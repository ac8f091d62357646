"""The result of a check as lines for a terminal, and its errors as one UserError."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from softseg.check.findings import SEVERITIES, CheckResult, Finding, Severity
from softseg.check.summaries import (
    FileSummary,
    Kind,
    MaskSummary,
    VolumeSummary,
    format_shape,
    format_zooms,
)
from softseg.core.errors import UserError, combined_error
from softseg.data.splits import SETS

MAX_LINES = 10
"""Findings of one kind that are listed."""
_MAX_CHOICES = 5  # of shapes and the like that are listed
_MAX_VALUES = 10  # of masks
_TOPIC_WIDTH = 12


def as_error(result: CheckResult) -> UserError | None:
    """Return the errors as one, with at most 10 lines of a kind; None if there are no errors."""
    errors = result.of("error")
    if not errors:
        return None
    heading = (
        f"{len(errors)} problem(s) in the data under {result.root} "
        "(fix them, or leave subjects out by name with dataset.exclude):"
    )
    kinds: dict[str, list[str]] = {}
    for error in errors:
        kinds.setdefault(error.kind, []).append(str(error))
    lines = [line for kind, of_kind in kinds.items() for line in _at_most(of_kind, kind)]
    return combined_error(heading, lines)


def as_lines(result: CheckResult) -> list[str]:
    """Return what the files are like, one line for each topic, then warnings and notes by kind.

    Errors, which `as_error` lists, are only counted.
    """
    counts = {severity: len(result.of(severity)) for severity in SEVERITIES}
    total = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
    return [
        *_describe_files(result),
        *_grouped(result, "warning"),
        *_grouped(result, "note"),
        ", ".join(total) if total else "no problem found",
    ]


def _grouped(result: CheckResult, severity: Severity) -> list[str]:
    """Return a heading for each kind with what to do about it, followed by its findings."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in result.of(severity):
        kinds.setdefault((finding.kind, finding.do), []).append(finding)
    lines = []
    for (kind, do), findings in kinds.items():
        lines.append(f"{severity}: {kind} ({len(findings)}): {do}")
        places = [str(finding).removesuffix(f"; {do}") for finding in findings]
        lines += [f"  - {line}" for line in _at_most(places, kind)]
    return lines


def _at_most(lines: Sequence[str], kind: str) -> list[str]:
    more = len(lines) - MAX_LINES
    rest = [f"and {more} more: {kind} (--json has all)"] if more > 0 else []
    return [*lines[:MAX_LINES], *rest]


def _describe_files(result: CheckResult) -> list[str]:
    """Return lines about subjects, files, grids and types, then about each contrast and mask."""
    members = [(name, getattr(result.sets, name)) for name in SETS if result.sets]
    sizes = ", ".join(f"{name} {len(names)}" for name, names in members)
    # the other files of a subject are on the grid of its first contrast
    firsts: dict[str, VolumeSummary] = {}
    contrasts: dict[str, list[VolumeSummary]] = {}
    masks: dict[str, list[MaskSummary]] = {}
    for file in result.files:
        firsts.setdefault(file.subject, file.volume)
        if file.kind == "image":
            contrasts.setdefault(file.name, []).append(file.volume)
        if file.mask is not None:
            masks.setdefault(file.name or "roi", []).append(file.mask)
    grids = list(firsts.values())
    stored = _stored_types(result.files)
    return [
        _line("subjects", f"{len(result.subjects)}{f' ({sizes})' if sizes else ''}"),
        _line("files", f"{len({file.path for file in result.files})} read"),
        _line("shape", _counted(grids, lambda volume: format_shape(volume.shape))),
        _line("zooms", _counted(grids, lambda volume: format_zooms(volume.zooms))),
        _line("orientation", _counted(grids, lambda volume: volume.orientation)),
        *([_line("stored as", stored)] if stored else []),
        *(_line(name, _describe_images(images)) for name, images in contrasts.items()),
        *(_line(name, _describe_masks(of_name)) for name, of_name in masks.items()),
    ]


def _line(topic: str, text: str) -> str:
    return f"{topic:<{_TOPIC_WIDTH}}{text}" if len(topic) < _TOPIC_WIDTH else f"{topic}  {text}"


def _counted(volumes: Sequence[VolumeSummary], text_of: Callable[[VolumeSummary], str]) -> str:
    """Return `RAS (12), LPS (1)`: the most frequent first, at most 5."""
    counts = Counter(text_of(volume) for volume in volumes).most_common()
    listed = ", ".join(f"{text} ({count})" for text, count in counts[:_MAX_CHOICES])
    more = len(counts) - _MAX_CHOICES
    return (listed or "none") + (f" and {more} more" if more > 0 else "")


def _stored_types(files: Iterable[FileSummary]) -> str:
    """Return `images int16 (3); masks uint8 (3)`: the types on disk, each file counted once."""
    volumes = {(file.kind, file.subject, file.path): file.volume for file in files}
    kinds: tuple[Kind, ...] = ("image", "mask", "roi")
    texts = []
    for kind in kinds:
        of_kind = [volume for (other, _, _), volume in volumes.items() if other == kind]
        if of_kind:
            texts.append(f"{kind}s {_counted(of_kind, lambda volume: volume.dtype)}")
    return "; ".join(texts)


def _describe_images(images: Sequence[VolumeSummary]) -> str:
    """Return the number of images of one contrast and the range of their voxels."""
    voxels = [value for image in images for value in (image.minimum, image.maximum)]
    medians = [image.median for image in images]
    return (
        f"{len(images)} images, voxels {_range(voxels)}, "
        f"medians of those other than 0: {_range(medians)}"
    )


def _describe_masks(masks: Sequence[MaskSummary]) -> str:
    """Return the number of masks of one target, their values, softness and volume."""
    filled = [mask for mask in masks if not mask.is_empty]
    softness = [100 * mask.soft_share for mask in filled]
    values = sorted({value for mask in masks for value in mask.values})
    most = max(len(values), *(mask.distinct for mask in masks))
    listed = " ".join(f"{value:.3g}" for value in values[:_MAX_VALUES])
    more = f" .. ({most} or more)" if most > _MAX_VALUES else ""
    return (
        f"{len(masks)} masks, {len(masks) - len(filled)} empty, values {listed}{more}, "
        f"soft voxels {_range(softness)} %, "
        f"volume {_range([mask.volume_ml for mask in filled])} ml"
    )


def _range(values: Sequence[float]) -> str:
    """Return `1 to 5`, ignoring NaN; `none` without values."""
    numbers = [value for value in values if value == value]
    if not numbers:
        return "none"
    low, high = min(numbers), max(numbers)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
