"""The result of a check as lines for a terminal, as one error, as a table of pairs and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.check.findings import (
    KINDS,
    SEVERITIES,
    CheckResult,
    FileSummary,
    Finding,
    Kind,
    MaskSummary,
    Severity,
    VolumeSummary,
    format_shape,
    format_zooms,
)
from softseg.core.errors import UserError, combined_error
from softseg.core.names import listing
from softseg.data.splits import SETS, set_of
from softseg.data.subject import count_scans, persons_of

MAX_LINES = 10
"""Findings of one kind that are listed."""
VALUES = 10
"""The number of values of a mask that are listed; `distinct` is the number of all values."""
_MAX_CHOICES = 5  # of shapes and the like that are listed
_TOPIC_WIDTH = 12
_PLURALS: dict[Kind, str] = {
    "image": "images",
    "mask": "masks",
    "confidence": "maps of confidence",
    "roi": "rois",
}


def as_error(result: CheckResult) -> UserError | None:
    """Return the errors as one, with at most 10 lines of a kind; None if there are no errors."""
    errors = result.of("error")
    if not errors:
        return None
    heading = (
        f"{len(errors)} problem(s) in the data under {result.root} "
        "(fix them, or leave subjects out by name with dataset.exclude):"
    )
    lines: list[str] = []
    for kind, of_kind in groupby(errors, key=lambda error: error.kind):
        subjects: dict[Finding, list[str]] = {}  # what is wrong -> the subjects that it concerns
        for error in of_kind:
            place = replace(error, subject="") if error.path is None else error
            subjects.setdefault(place, []).append(error.subject)
        texts = [str(replace(error, subject=listing(names))) for error, names in subjects.items()]
        lines += _at_most(texts, kind)
    return combined_error(heading, lines)


def as_lines(result: CheckResult) -> list[str]:
    """Return what the files are like, one line for each topic, then warnings and notes by kind.

    Errors, which `as_error` lists, are only counted.
    """
    counts = {severity: len(result.of(severity)) for severity in SEVERITIES}
    total = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
    return [
        *_describe_files(result),
        *_findings_by_kind(result, "warning"),
        *_findings_by_kind(result, "note"),
        ", ".join(total) if total else "no problem found",
    ]


def _findings_by_kind(result: CheckResult, severity: Severity) -> list[str]:
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
    rest = [f"and {more} more: {kind} (--json lists all)"] if more > 0 else []
    return [*lines[:MAX_LINES], *rest]


def _describe_files(result: CheckResult) -> list[str]:
    """Return lines about subjects, files, grids and types, then about each contrast and mask."""
    members = [(name, getattr(result.sets, name)) for name in SETS if result.sets]
    persons = persons_of(result.subjects)
    sizes = ", ".join(f"{name} {_count(names, persons)}" for name, names in members)
    total = _count(persons, persons)
    # the other files of a subject are on the grid of its first contrast
    firsts: dict[str, VolumeSummary] = {}
    stored: dict[Kind, dict[tuple[str, Path], str]] = {kind: {} for kind in KINDS}
    contrasts: dict[str, list[VolumeSummary]] = {}
    maps: dict[str, list[VolumeSummary]] = {}
    masks: dict[str, list[FileSummary]] = {}
    for file in result.files:
        firsts.setdefault(file.subject, file.volume)
        stored[file.kind][file.subject, file.path] = file.volume.dtype
        if file.kind == "image":
            contrasts.setdefault(file.name, []).append(file.volume)
        if file.kind == "confidence":
            maps.setdefault(file.name, []).append(file.volume)
        if file.mask is not None:
            masks.setdefault(file.name or "roi", []).append(file)
    grids = firsts.values()
    types = [
        f"{_PLURALS[kind]} {_count_values(of_kind.values())}"
        for kind, of_kind in stored.items()
        if of_kind
    ]
    return [
        _line("subjects", f"{total}{f' ({sizes})' if sizes else ''}"),
        _line("files", f"{len({file.path for file in result.files})} read"),
        _line("shape", _count_values(format_shape(volume.shape) for volume in grids)),
        _line("zooms", _count_values(format_zooms(volume.zooms_mm) for volume in grids)),
        _line("orientation", _count_values(volume.orientation for volume in grids)),
        *([_line("stored as", "; ".join(types))] if types else []),
        *(_line(name, _describe_images(images)) for name, images in contrasts.items()),
        *(_line(name, _describe_masks(of_name)) for name, of_name in masks.items()),
        *(_line(name, _describe_maps(of_name)) for name, of_name in maps.items()),
    ]


def _count(names: Collection[str], persons: Mapping[str, str]) -> str:
    """Return `11 scans of 6 persons`, or `11` where no person was scanned more than once."""
    return count_scans(names, persons).removesuffix(" subjects").removesuffix(" subject")


def _line(topic: str, text: str) -> str:
    return f"{topic:<{_TOPIC_WIDTH}}{text}" if len(topic) < _TOPIC_WIDTH else f"{topic}  {text}"


def _count_values(texts: Iterable[str]) -> str:
    """Return `RAS (12), LPS (1)`: the most frequent first, at most 5."""
    counts = Counter(texts).most_common()
    listed = ", ".join(f"{text} ({count})" for text, count in counts[:_MAX_CHOICES])
    more = len(counts) - _MAX_CHOICES
    return (listed or "none") + (f" and {more} more" if more > 0 else "")


def _describe_images(images: Sequence[VolumeSummary]) -> str:
    """Return the number of images of one contrast and the range of their voxels."""
    voxels = [value for image in images for value in (image.min, image.max)]
    medians = [image.median for image in images]
    return (
        f"{len(images)} images, voxels {_range(voxels)}, "
        f"medians of those other than 0: {_range(medians)}"
    )


def _describe_maps(maps: Sequence[VolumeSummary]) -> str:
    """Return the number of maps of confidence of one target, and the range of their voxels."""
    voxels = [value for one in maps for value in (one.min, one.max)]
    return f"{len(maps)} maps of confidence (weights of the loss), voxels {_range(voxels)}"


def _describe_masks(files: Sequence[FileSummary]) -> str:
    """Return the number of masks of one target, their values, softness and volume."""
    masks = [file.mask for file in files if file.mask is not None]
    filled = [mask for mask in masks if not mask.empty]
    softness = [100 * mask.soft_share for mask in filled]
    values = sorted({value for mask in masks for value in mask.values})
    most = max(len(values), *(mask.distinct for mask in masks))
    listed = " ".join(f"{value:.3g}" for value in values[:VALUES])
    more = f" .. ({most} or more)" if most > VALUES else ""
    if more and not all(value.is_integer() for value in values):
        bounds = [bound for file in files for bound in (file.volume.min, file.volume.max)]
        listed, more = _range(bounds), f" ({most} or more)"
    ignored = [mask.ignored for mask in masks if mask.ignored]
    counts = f", ignored voxels {_range(ignored)} in {len(ignored)} masks" if ignored else ""
    return (
        f"{len(masks)} masks, {len(masks) - len(filled)} empty, values {listed}{more}, "
        f"soft voxels {_range(softness)} %, "
        f"volume {_range([mask.volume_ml for mask in filled])} ml{counts}"
    )


def _range(values: Sequence[float]) -> str:
    """Return `1 to 5`, ignoring NaN; `none` without values."""
    numbers = [value for value in values if value == value]
    if not numbers:
        return "none"
    low, high = min(numbers), max(numbers)
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def pairs_frame(result: CheckResult) -> pd.DataFrame:
    """Return which files belong together: a row for each subject.

    Columns: `subject`; `set`, train, validation, test or empty; a column for each contrast; one for
    each target (`target:rater` if there are several raters); `confidence_<target>` and `roi`, if
    there are any. Paths are relative to the dataset's root, as the loader `table` reads them; a
    missing file is empty.
    """
    rows = []
    for subject in result.subjects:
        paths: dict[str, Path | None] = dict(subject.images)
        for target, raters in subject.labels.items():
            paths |= {f"{target}:{r}" if r else target: path for r, path in raters.items()}
        paths |= {f"confidence_{target}": path for target, path in subject.confidence.items()}
        paths |= {} if subject.roi is None else {"roi": subject.roi}
        row = {"subject": subject.name, "set": set_of(subject.name, result.sets)}
        for name, path in paths.items():
            if path is None:
                row[name] = "none"
                continue
            is_below = path.is_relative_to(result.root)
            row[name] = (path.relative_to(result.root) if is_below else path).as_posix()
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def as_json(result: CheckResult) -> dict[str, Any]:
    """Return everything in types that JSON has; NaN and infinity are None.

    `root`; `counts`: number of `error`, `warning`, `note`; `findings`: each `severity`, `kind`,
    `subject` and `path` (None if it is about the dataset), `what`, `do`; `subjects`: each
    `subject`, `set` (train, validation, test or None), `columns`; `files`, a record for every role
    of a file: `path`, `subject`, `set`, `kind` (image, mask, confidence, roi), `name` (contrast or
    target), `rater`, `shape`, `zooms_mm`, `orientation`, `dtype`, `min`, `max`, and of the voxels
    other than 0 `mean`, `std` and `median`; `away_mm` from the first contrast; `digest` of the
    voxels; and for masks (else None) `values` (at most 10), `distinct` (the number of all values),
    `soft_share` in [0, 1], `volume_ml`, `empty` and `ignored` (the number of voxels whose truth is
    unknown).
    """
    return {
        "root": result.root.as_posix(),
        "counts": {severity: len(result.of(severity)) for severity in SEVERITIES},
        "findings": [
            {
                "severity": finding.severity,
                "kind": finding.kind,
                "subject": finding.subject or None,
                "path": None if finding.path is None else finding.path.as_posix(),
                "what": finding.what,
                "do": finding.do,
            }
            for finding in result.findings
        ],
        "subjects": [
            {
                "subject": subject.name,
                "set": set_of(subject.name, result.sets) or None,
                "columns": dict(subject.columns),
            }
            for subject in result.subjects
        ],
        "files": [_file_record(file, result) for file in result.files],
    }


def _file_record(file: FileSummary, result: CheckResult) -> dict[str, Any]:
    """Return one file in one role, as `as_json` describes it."""
    record: dict[str, Any] = {
        "path": file.path.as_posix(),
        "subject": file.subject,
        "set": set_of(file.subject, result.sets) or None,
        "kind": file.kind,
        "name": file.name,
        "rater": file.rater,
        **asdict(file.volume),
        **dict.fromkeys(field.name for field in fields(MaskSummary)),
    }
    if file.mask is not None:
        record |= asdict(file.mask) | {"values": file.mask.values[:VALUES]}
    for key, value in record.items():
        if isinstance(value, tuple):
            record[key] = list(value)
        elif isinstance(value, float) and not math.isfinite(value):
            record[key] = None
    return record
