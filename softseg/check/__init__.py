"""Checks of every file before training: what is wrong, what is unusual, what belongs together."""

from __future__ import annotations

from softseg.check.check import check_dataset, check_files
from softseg.check.findings import CheckResult, Finding
from softseg.check.summaries import FileSummary, MaskSummary, VolumeSummary
from softseg.check.tables import as_json, files_frame, pairs_frame, write_pairs
from softseg.check.text import as_error, as_lines

__all__ = [
    "CheckResult",
    "FileSummary",
    "Finding",
    "MaskSummary",
    "VolumeSummary",
    "as_error",
    "as_json",
    "as_lines",
    "check_dataset",
    "check_files",
    "files_frame",
    "pairs_frame",
    "write_pairs",
]
