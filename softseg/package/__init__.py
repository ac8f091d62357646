"""The `.softseg` package: one file with a trained model and its metadata; data only, no code."""

from __future__ import annotations

from softseg.package.read import Package, read_package
from softseg.package.write import write_package

__all__ = ["Package", "read_package", "write_package"]
