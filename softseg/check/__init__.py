"""Checks of every file before training: what is wrong, what is unusual, what belongs together."""

from __future__ import annotations

from softseg.check.check import check_dataset, check_files
from softseg.check.tables import as_json, pairs_frame
from softseg.check.text import as_error, as_lines

__all__ = ["as_error", "as_json", "as_lines", "check_dataset", "check_files", "pairs_frame"]
