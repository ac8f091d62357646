"""A look at every file before training: what is wrong, what is odd, and which belong together."""

from __future__ import annotations

from softseg.check.check import Checked, check_files
from softseg.check.findings import Finding
from softseg.check.run import run
from softseg.check.tables import as_json, files_frame, pairs_frame, write_pairs
from softseg.check.text import as_lines, refusal
from softseg.check.volume_statistics import Content, FileFacts, MaskFacts

__all__ = [
    "Checked",
    "Content",
    "FileFacts",
    "Finding",
    "MaskFacts",
    "as_json",
    "as_lines",
    "check_files",
    "files_frame",
    "pairs_frame",
    "refusal",
    "run",
    "write_pairs",
]
