"""Measurement of segmentations: volumes, areas, lesions and repeatability (SoftSeg, 4.4.1)."""

from __future__ import annotations
