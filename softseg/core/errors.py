"""Errors that a command reports in one message, without a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the user's input; the message says what, where, and how to fix it.

    The command prints the message and exits with status 2.
    """


class TrainingError(Exception):
    """Training cannot continue (the loss is not finite); the command exits with status 1."""


def combined_error(heading: str, problems: Iterable[str]) -> UserError:
    """Return one error for many problems, one indented line each, so that all can be fixed."""
    lines = list(dict.fromkeys(problems))
    return UserError("\n".join([heading, *(f"  - {line}" for line in lines)]))
