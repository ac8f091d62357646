"""The result of a check as tables and as JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.check.findings import SEVERITIES, CheckResult
from softseg.check.summaries import FileSummary
from softseg.core.files import write_atomically
from softseg.data.splits import set_of

VALUES = 10
"""The number of values of a mask that are listed; `distinct` is the number of all values."""


def pairs_frame(result: CheckResult) -> pd.DataFrame:
    """Return which files belong together: a row for each subject.

    Columns: `subject`; `set`, train, validation, test or empty; a column for each contrast; one for
    each target (`target:rater` if there are several raters); `roi`, if there are any. Paths are
    relative to the data set's root, as the loader `table` reads them; a missing file is empty.
    """
    rows = []
    for subject in result.subjects:
        paths = dict(subject.images)
        for target, raters in subject.labels.items():
            paths |= {f"{target}:{r}" if r else target: path for r, path in raters.items()}
        paths |= {} if subject.roi is None else {"roi": subject.roi}
        relative = {
            name: path.relative_to(result.root) if path.is_relative_to(result.root) else path
            for name, path in paths.items()
        }
        row = {"subject": subject.name, "set": set_of(subject.name, result.sets)}
        rows.append(row | {name: path.as_posix() for name, path in relative.items()})
    return pd.DataFrame(rows).fillna("")


def write_pairs(path: Path, result: CheckResult) -> None:
    """Write `pairs_frame` as CSV; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, pairs_frame(result).to_csv(index=False, lineterminator="\n"))


def as_json(result: CheckResult) -> dict[str, Any]:
    """Return everything in types that JSON has; NaN and infinity are None.

    `root`; `counts`: number of `error`, `warning`, `note`; `findings`: each `severity`, `kind`,
    `subject` and `path` (None if it is about the data set), `what`, `do`; `subjects`: each
    `subject`, `set` (train, validation, test or None), `columns`; `files`, a record for every role
    of a file: `path`, `subject`, `set`, `kind` (image, mask, roi), `name` (contrast or target),
    `rater`, `shape`, `zooms_mm`, `orientation`, `dtype`, `min`, `max`, and of the voxels other than
    0 `mean`, `std` and `median`; `away_mm` from the first contrast; `digest` of the voxels; and for
    masks (else None) `values` (at most 10), `distinct` (the number of all values), `soft_share` in
    [0, 1], `volume_ml` and `empty`.
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
        "files": [
            {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in _record(file, result).items()
            }
            for file in result.files
        ],
    }


def _record(file: FileSummary, result: CheckResult) -> dict[str, Any]:
    """Return one file in one role, as `as_json` describes it."""
    volume, mask = file.volume, file.mask
    return {
        "path": file.path.as_posix(),
        "subject": file.subject,
        "set": set_of(file.subject, result.sets) or None,
        "kind": file.kind,
        "name": file.name,
        "rater": file.rater,
        "shape": list(volume.shape),
        "zooms_mm": list(volume.zooms),
        "orientation": volume.orientation,
        "dtype": volume.dtype,
        "min": volume.minimum,
        "max": volume.maximum,
        "mean": volume.mean,
        "std": volume.std,
        "median": volume.median,
        "away_mm": volume.away_mm,
        "digest": volume.digest,
        "values": None if mask is None else list(mask.values[:VALUES]),
        "distinct": None if mask is None else mask.distinct,
        "soft_share": None if mask is None else mask.soft_share,
        "volume_ml": None if mask is None else mask.volume_ml,
        "empty": None if mask is None else mask.is_empty,
    }
