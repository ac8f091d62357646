"""The fixture that records saved figures."""

from __future__ import annotations

from tests.support.figures import saved_figure

__all__ = ["saved_figure"]
