"""One file that holds a trained model and what must be known to use it; read as data, never run."""

from __future__ import annotations

from softseg.package.read import Package, read_package
from softseg.package.write import write_package

__all__ = ["Package", "read_package", "write_package"]
