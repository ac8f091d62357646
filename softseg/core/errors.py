"""Errors that a command reports in one message, without a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


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


# a command to type, such as `softseg eval --threshold-search`, which stays as it is
_COMMAND = r"(?P<command>`?softseg [a-z][^,;:]*)"
_OPTION = r"(?<![\w-])--(?P<option>[a-z][a-z-]*)(?P<value> [^\s;:)`]*[^\s,;:)`])?"
_MESSAGE = re.compile(f"{_COMMAND}|{_OPTION}")
_SWITCHES = ("resume", "overwrite", "extend", "threshold-search")


@contextmanager
def python_arguments() -> Iterator[None]:
    """Let a UserError name the arguments of a Python function, not the options of the command.

    `--overwrite` becomes `overwrite=True`, `--set a=1` becomes `changes=["a=1"]`.
    """
    try:
        yield
    except UserError as error:
        texts = (_with_arguments(text) if isinstance(text, str) else text for text in error.args)
        error.args = tuple(texts)
        raise


def _with_arguments(message: str) -> str:
    def argument(match: re.Match[str]) -> str:
        if match["command"]:
            return match["command"]
        option, value = match["option"], (match["value"] or "").strip()
        if option == "set" and "=" in value:
            return f'changes=["{value}"]'
        if option == "set":
            return f"changes, {value}" if value else "changes"
        if option == "split" and value in ("train", "validation", "test"):
            return f'split="{value}"'
        if option == "center" and value == "I,J,K":
            return "center=(i, j, k)"
        name = option.replace("-", "_")
        plain = f"{name}=True" if option in _SWITCHES else name
        return f"{plain}{match['value'] or ''}"

    return _MESSAGE.sub(argument, message)
