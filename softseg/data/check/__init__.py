"""A look at every file before training: what is wrong, what is odd, and which belong together."""

from __future__ import annotations

from softseg.data.check.checking import Checked, check_files
from softseg.data.check.facts import Content, FileFacts, MaskFacts
from softseg.data.check.findings import Finding
from softseg.data.check.frames import as_json, files_frame, pairs_frame, write_pairs
from softseg.data.check.listing import as_lines, refusal
from softseg.data.check.running import run

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
