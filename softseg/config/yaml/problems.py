"""Many problems of one source told as one error."""

from __future__ import annotations

from collections.abc import Sequence

from softseg.core.errors import UserError, combined_error

MOST = 100  # that are told; who has more mends these first


def together(source: str, problems: Sequence[str], more: int = 0) -> UserError:
    """The error of one problem, or of several; of very many the first, and how many there are.

    Args:
        source: the file that was read, or `--set KEY`.
        problems: each with its place, in order.
        more: how many there are besides.
    """
    count = len(problems) + more
    if count == 1:
        return UserError(problems[0])
    rest = [f"and {count - MOST} more"] if count > MOST else []
    return combined_error(f"{source}: {count} problems", [*problems[:MOST], *rest])
