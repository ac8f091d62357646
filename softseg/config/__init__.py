"""From a YAML file to a frozen, validated Experiment, with errors that name file, line and key."""

from __future__ import annotations
