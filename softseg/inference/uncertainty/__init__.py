"""Slices to volumes to native space; the threshold search."""

from __future__ import annotations
