"""What was checked as tables and as JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.check.check import Checked
from softseg.check.findings import SEVERITIES, Finding
from softseg.check.split import set_of
from softseg.check.volume_statistics import FileFacts
from softseg.core.files import write_atomically
from softseg.data.subject import Subject

VALUES = 10
"""Distinct values of a mask that are listed; `distinct` says how many there are."""


def pairs_frame(checked: Checked) -> pd.DataFrame:
    """Which files belong together: a row a subject.

    Columns: `subject`; `set`, train, validation, test or empty; a column a contrast; one a target
    (`target:rater` where raters are told apart); `roi`, if there are any. Paths are relative to
    the data set's root, as the loader `table` reads them; a file that is not there is empty.
    """
    rows = [_pair(one, checked) for one in checked.subjects]
    return pd.DataFrame(rows).fillna("")


def write_pairs(path: Path, checked: Checked) -> None:
    """Write `pairs_frame` as CSV; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, pairs_frame(checked).to_csv(index=False, lineterminator="\n"))


def files_frame(checked: Checked) -> pd.DataFrame:
    """A row for every file that could be read, in each of its roles.

    Columns: those of `files` in `as_json`, in that order; shape and zooms as `a x b x c`, values
    joined by spaces.
    """
    rows = [_file(one, checked) for one in checked.files]
    for row in rows:
        row["shape"], row["zooms_mm"] = (
            " x ".join(f"{number:g}" for number in row[key]) for key in ("shape", "zooms_mm")
        )
        row["values"] = " ".join(f"{value:g}" for value in row["values"] or ())
    return pd.DataFrame(rows)


def as_json(checked: Checked) -> dict[str, Any]:
    """Everything, of types that JSON has; what is not a number (NaN, infinity) is None.

    `root`; `counts`: number of `error`, `warning`, `note`; `findings`: each `severity`, `kind`,
    `subject` and `path` (None where it is about no one), `what`, `do`; `subjects`: each `subject`,
    `set` (train, validation, test or None), `columns`; `files`, a record for every role of a file:
    `path`, `subject`, `set`, `kind` (image, mask, roi), `name` (contrast or target), `rater`,
    `shape`, `zooms_mm`, `orientation`, `dtype`, `min`, `max`, and of the voxels other than 0
    `mean`, `std` and `median`; `away_mm` from its place on the first contrast; `digest` of the
    voxels; and for masks (else None) `values` (at most 10), `distinct` (how many there are),
    `soft_share` in [0, 1], `volume_ml` and `empty`.
    """
    return {
        "root": checked.root.as_posix(),
        "counts": {severity: len(checked.of(severity)) for severity in SEVERITIES},
        "findings": [_finding(one) for one in checked.findings],
        "subjects": [
            {
                "subject": one.name,
                "set": set_of(one.name, checked.sets) or None,
                "columns": dict(one.columns),
            }
            for one in checked.subjects
        ],
        "files": [_json_safe(_file(one, checked)) for one in checked.files],
    }


def _pair(subject: Subject, checked: Checked) -> dict[str, str]:
    paths = dict(subject.images)
    for target, raters in subject.labels.items():
        paths |= {f"{target}:{r}" if r else target: path for r, path in raters.items()}
    paths |= {} if subject.roi is None else {"roi": subject.roi}
    named = {name: _below(path, checked.root) for name, path in paths.items()}
    return {"subject": subject.name, "set": set_of(subject.name, checked.sets), **named}


def _below(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "severity": one.severity,
        "kind": one.kind,
        "subject": one.subject or None,
        "path": None if one.path is None else one.path.as_posix(),
        "what": one.what,
        "do": one.do,
    }


def _file(one: FileFacts, checked: Checked) -> dict[str, Any]:
    content, mask = one.content, one.mask
    return {
        "path": one.path.as_posix(),
        "subject": one.subject,
        "set": set_of(one.subject, checked.sets) or None,
        "kind": one.kind,
        "name": one.name,
        "rater": one.rater,
        "shape": list(content.shape),
        "zooms_mm": list(content.zooms),
        "orientation": content.orientation,
        "dtype": content.dtype,
        "min": content.minimum,
        "max": content.maximum,
        "mean": content.mean,
        "std": content.std,
        "median": content.median,
        "away_mm": content.away_mm,
        "digest": content.digest,
        "values": None if mask is None else list(mask.values[:VALUES]),
        "distinct": None if mask is None else mask.distinct,
        "soft_share": None if mask is None else mask.soft_share,
        "volume_ml": None if mask is None else mask.volume_ml,
        "empty": None if mask is None else mask.is_empty,
    }


def _json_safe(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }
