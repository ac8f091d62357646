"""The form of a message about a damaged file."""

from __future__ import annotations

from pathlib import Path


def check_message(message: str, path: Path, words: tuple[str, ...]) -> None:
    """Check for `<path>: <what is wrong>; <how to fix it>` in one short, printable line."""
    assert message.startswith(f"{path}: ")
    rest = message.removeprefix(f"{path}: ")
    problem, _, fix = rest.rpartition("; ")
    assert len(problem) > 5, message
    assert len(fix) > 5, message
    assert rest.isprintable(), repr(message)
    assert len(rest) < 300, message
    for word in words:
        assert word in rest, message
