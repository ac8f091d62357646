"""Several predictions of a scan, and how far they agree."""

from __future__ import annotations
