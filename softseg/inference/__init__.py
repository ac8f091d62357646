"""Inference: a trained model applied to new scans."""

from __future__ import annotations
