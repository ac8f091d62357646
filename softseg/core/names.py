"""Sorting, checking, suggesting and listing of names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from softseg.core.errors import UserError


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key under which sub-2 comes before sub-10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts)


def is_utf8(name: str) -> bool:
    """Whether a file's name is UTF-8; Python replaces other bytes by surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` if one of the names is similar to `name`, otherwise ''."""
    similar = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean '{similar[0]}'?)" if similar else ""


def listing(names: Iterable[str], limit: int = 10) -> str:
    """Return `a, b, c`: the names in natural order, at most `limit` of them."""
    ordered = sorted(set(names), key=natural_key)
    more = len(ordered) - limit
    return ", ".join(ordered[:limit]) + (f" and {more} more" if more > 0 else "")


def unknown_name(kind: str, name: str, names: Collection[str]) -> str:
    """Return `no column 'centr' (did you mean 'center'?); columns are center, subject`."""
    return f"no {kind} '{name}'{did_you_mean(name, names)}; {kind}s are {listing(names)}"


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder: as few of the last parts of its path as tell them apart.

    Raises UserError for a folder that is given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    if repeated := [str(f) for f, own in zip(folders, parts, strict=True) if parts.count(own) > 1]:
        raise UserError(f"{repeated[0]}: is given twice; name it once")
    for count in range(1, max(map(len, parts)) + 1):
        names = ["-".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "scores" for name in names]
