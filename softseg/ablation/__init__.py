"""Candidates x splits: the plan, carrying it out here or on a cluster, paired statistics."""

from __future__ import annotations
