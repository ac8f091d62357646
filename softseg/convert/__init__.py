"""Configurations of other tools made into ours: ivadomed's JSON, key by key."""

from __future__ import annotations

from softseg.convert.facts import Converted
from softseg.convert.ivadomed import convert, write_config

__all__ = ["Converted", "convert", "write_config"]
