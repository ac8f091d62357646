"""What `softseg measure` prints: a table per folder, or JSON."""

from __future__ import annotations

from typing import Any

import pandas as pd

from softseg.measurement.measure import Measures
from softseg.render.terminal_table import TerminalTable
from softseg.runs.volume_calibration import KINDS


def volumes_table(measures: Measures) -> TerminalTable:
    """Return the volumes over all scans: a row per target and kind of volume."""
    header = ["target", "volume", "scans", "mean [ml]", "SD [ml]"]
    interval = f"± {100 * measures.level:g} % [ml]"
    header += [interval] if measures.has_intervals else []
    rows = []
    for target, members in measures.scans.groupby("target", sort=False):
        for kind in KINDS:
            volumes = members[f"{kind}_ml"]
            row = [str(target), kind, str(len(volumes))]
            row += [_number(volumes.mean(), 4), _number(volumes.std(), 4)]
            if measures.has_intervals:
                row.append(_number(float((members[f"{kind}_high_ml"] - volumes).iloc[0]), 3))
            rows.append(tuple(row))
    return TerminalTable("Volumes", tuple(header), tuple(rows), labels=2)


def repeatability_rows(table: pd.DataFrame) -> TerminalTable:
    """Return the repeatability of volumes for the terminal."""
    header = ("target", "volume", "groups", "scans", "SDw [ml]", "SDw [%]", "LDC [ml]", "LDC [%]")
    rows = []
    for row in table.to_dict("records"):
        cells = [str(row["target"]), str(row["volume"]), str(row["groups"]), str(row["scans"])]
        keys = ("sdw_ml", "sdw_percent", "ldc_ml", "ldc_percent", "icc")
        cells += [_number(row[key], 3) for key in keys]
        rows.append(tuple(cells))
    notes = (
        "SDw: within-subject standard deviation; LDC: least detectable change, 1.96 √2 SDw; ICC: "
        "share of the variance that is between groups",
    )
    return TerminalTable("Repeated scans", (*header, "ICC"), tuple(rows), notes, labels=2)


def _number(value: float, digits: int) -> str:
    """Return a number with so many significant digits, without an exponent below a million."""
    return "undefined" if pd.isna(value) else f"{float(f'{value:.{digits}g}'):g}"


def as_json(measures: Measures, files: list[str]) -> dict[str, Any]:
    """Return what is printed and written, for programs: `scans` and `repeatability` by row."""
    return {
        "axis": measures.axis,
        "level": measures.level if measures.has_intervals else None,
        "scans": measures.scans.to_dict("records"),
        "repeatability": measures.repeatability.to_dict("records"),
        "files": files,
    }
