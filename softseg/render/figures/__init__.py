"""The figures of an ablation's report: plain data in, one PNG out, one figure a file."""

from __future__ import annotations
