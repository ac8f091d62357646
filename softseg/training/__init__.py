"""The loop, its resumable state, early stopping, checkpoints, logging."""

from __future__ import annotations
