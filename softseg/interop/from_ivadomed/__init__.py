"""Convert configurations of ivadomed (JSON) to ours, key by key."""

from __future__ import annotations

from softseg.interop.from_ivadomed.convert import convert, write_config
from softseg.interop.from_ivadomed.outcomes import Conversion

__all__ = ["Conversion", "convert", "write_config"]
