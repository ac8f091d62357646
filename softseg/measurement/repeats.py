"""Which scans of a folder are repeated scans of one person, and how well their volumes agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from softseg.core.errors import UserError, combined_error
from softseg.core.names import listing, unknown_name
from softseg.data.loaders.delimited import read_rows
from softseg.data.subject import is_missing
from softseg.metrics.overlap import percent
from softseg.metrics.repeatability import repeatability
from softseg.runs.volume_calibration import KINDS

_PERSON = re.compile(r"(?:^|_)(sub-[^_]+)")
_RUN = re.compile(r"_run-[^_]+")
_COLUMNS = ("scan", "person")


def persons_by_name(scans: Sequence[str]) -> dict[str, str]:
    """Return the person of each scan: `sub-X` of a BIDS name, else the scan itself."""
    matches = {scan: _PERSON.search(PurePosixPath(scan).name) for scan in scans}
    return {scan: match[1] if match else scan for scan, match in matches.items()}


def repeats_by_name(scans: Sequence[str]) -> dict[str, str]:
    """Return the group of repeats of each scan: BIDS names that differ in `run-` only.

    Sessions are not repeats: what is measured may have changed between them.
    """
    return {scan: _RUN.sub("", scan) for scan in scans}


def repeats_by_table(path: Path, scans: Sequence[str]) -> dict[str, str]:
    """Return the person of each scan that a table names, in its columns `scan` and `person`.

    A scan is named as in the tables of this command, or by the last part of that name. Raises
    one UserError for all that is wrong.
    """
    rows = read_rows(path)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if missing := [name for name in _COLUMNS if name not in columns]:
        found = f"its columns are {listing(columns)}" if columns else "it is empty"
        raise UserError(
            f"{path}: has no column {' and no column '.join(missing)}; {found}. Write one line per "
            "scan: its name in the column scan, the person in the column person"
        )
    known: dict[str, list[str]] = {}
    for scan in scans:
        for name in {scan, PurePosixPath(scan).name}:
            known.setdefault(name, []).append(scan)
    persons: dict[str, str] = {}
    problems = []
    for number, row in enumerate(rows, start=2):
        matches = known.get(row["scan"], [])
        if not matches:
            problems.append(f"line {number}: {unknown_name('scan', row['scan'], scans)}")
        elif len(matches) > 1:
            problems.append(f"line {number}: '{row['scan']}' may be {listing(matches)}")
        elif matches[0] in persons:
            problems.append(f"line {number}: '{row['scan']}' is named twice")
        elif is_missing(row["person"]):
            problems.append(f"line {number}: '{row['scan']}' has no person")
        persons |= dict.fromkeys(matches, row["person"])
    if problems:
        raise combined_error(f"{path}: these lines cannot be used:", problems)
    return persons


def repeatability_table(scans: pd.DataFrame, groups: dict[str, str]) -> pd.DataFrame:
    """Return the repeatability of the soft and the binary volume of each target with repeats.

    `scans` has the columns `scan`, `target`, `soft_ml` and `binary_ml`, `groups` the group of each
    scan. Percentages are of the mean volume.
    """
    rows = []
    for target, members in scans.groupby("target", sort=False):
        for kind in KINDS:
            result = repeatability(members[f"{kind}_ml"], [groups[n] for n in members["scan"]])
            if not result.groups:
                continue
            change, mean = result.least_detectable_change, result.mean
            row = {"target": target, "volume": kind, "groups": result.groups}
            row |= {"scans": result.measurements, "mean_ml": mean}
            row |= {"sdw_ml": result.within_sd, "sdw_percent": percent(result.within_sd, mean)}
            row |= {"ldc_ml": change, "ldc_percent": percent(change, mean), "icc": result.icc}
            rows.append(row)
    return pd.DataFrame(rows)
