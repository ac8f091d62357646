"""Configurations of other tools made into ours: ivadomed's JSON, key by key."""

from __future__ import annotations

from softseg.interop.from_ivadomed.convert import convert, write_config
from softseg.interop.from_ivadomed.outcomes import Converted

__all__ = ["Converted", "convert", "write_config"]
