"""Version of the package, importable without anything else."""

from __future__ import annotations

__version__ = "0.1.0"
