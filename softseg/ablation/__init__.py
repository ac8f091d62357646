"""Ablations: candidates x splits, planned once and run on this machine or on a cluster."""

from __future__ import annotations
