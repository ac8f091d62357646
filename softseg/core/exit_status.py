"""The exit status of a command that ends with an error."""

from __future__ import annotations

import errno

from softseg.core.errors import UserError
from softseg.core.memory import is_out_of_memory

_WRONG_PLACE = (
    errno.EEXIST,
    errno.ENOENT,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EROFS,
    errno.EIO,
    errno.ENOMEM,
)
"""Errors of a path that cannot be read or written to, or of the memory; not a full disk."""


def exit_status(error: Exception) -> int:
    """Return 2 for what the user can change: wrong input or place, little memory; else 1."""
    if isinstance(error, OSError):
        return 2 if error.errno in _WRONG_PLACE else 1
    return 2 if isinstance(error, UserError) or is_out_of_memory(error) else 1
