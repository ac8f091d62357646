"""Tables and figures of what was measured."""

from __future__ import annotations
