"""What is known of a file that has not arrived completely: its bytes, and of which version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from softseg.core.files import write_atomically


def part_of(target: Path) -> Path:
    """Where the bytes of a file gather until it is complete."""
    return target.with_name(f"{target.name}.part")


def remember(part: Path, url: str, headers: Mapping[str, str]) -> None:
    """Note of which version of the file at an address the part is; without it none can go on."""
    told = {"address": url, "validator": validator_of(headers)}
    write_atomically(_note(part), json.dumps(told))


def remembered(part: Path, url: str) -> str | None:
    """What tells the version of which the part is; None: it cannot go on."""
    try:
        told = json.loads(_note(part).read_text(encoding="utf-8"))
        return told["validator"] if told["address"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(part: Path) -> None:
    """The file is complete."""
    _note(part).unlink(missing_ok=True)


def validator_of(headers: Mapping[str, str]) -> str | None:
    """What tells two versions of a file apart to the byte, which a weak ETag does not."""
    etag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if etag.startswith("W/") else etag


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
