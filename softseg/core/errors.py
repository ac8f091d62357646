"""What a user did wrong, said once: the command prints the message and exits with status 2."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the user's input: its message says what, where, and what to do."""


class TrainingError(Exception):
    """Training cannot go on (a loss that is not finite); the command exits with status 1."""


def combined_error(heading: str, problems: Iterable[str]) -> UserError:
    """One error for many problems, one indented line each, so that all are mended at once."""
    lines = list(dict.fromkeys(problems))
    return UserError("\n".join([heading, *(f"  - {line}" for line in lines)]))
