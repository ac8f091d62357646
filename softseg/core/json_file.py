"""JSON files read as data that somebody else may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 50_000_000
"""Far more than the longest of a run or of an ablation's plan."""


def read_json(path: Path) -> Any:
    """What a JSON file holds, in UTF-8.

    Raises OSError where it cannot be read, and ValueError for what is no JSON, larger than
    `MAX_BYTES`, or nested so deeply that reading it would end the process.
    """
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
