"""The scalars of YAML 1.2's core schema, for reading and writing with PyYAML (which knows 1.1)."""

from __future__ import annotations

import math
import re
from typing import Any

TAG = "tag:yaml.org,2002:"
MAX_KEY = 200  # characters; YAML takes no key of more than 1024 without a `?`
CORE_SCALARS = [
    ("null", r"|~|null|Null|NULL", ["", "~", "n", "N"]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
]


def add_core_scalars(resolver: Any) -> None:
    """Teach a PyYAML loader or dumper class the scalars of YAML 1.2's core schema."""
    for name, pattern, first in CORE_SCALARS:
        resolver.add_implicit_resolver(TAG + name, re.compile(rf"(?:{pattern})\Z"), first)


def parse_scalar(kind: str, text: str) -> Any:
    """Return the value of a scalar of the core schema; raises ValueError for a bad value."""
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        digits = text if base == 10 else text[2:]
        whole = int(digits, base) if len(digits) <= 25 else None
        if whole is None or abs(whole) >= 2**63:
            raise ValueError("the number is too large (64 bits hold 19 digits)")
        return whole
    if kind == "float":
        # YAML writes infinity with a dot that Python does not know
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(number):
            raise ValueError(f"must be a finite number, not {text[:40]}")
        return number
    if not _is_encodable(text):
        raise ValueError("the text holds half a character (a lone surrogate)")
    if "\0" in text:
        raise ValueError("the text holds a NUL character, which no name or path has")
    return text


def invalid_key_reason(key: str) -> str | None:
    """Return why the text cannot be a key, or None if it can."""
    if len(key) > MAX_KEY:
        return f"a key of {len(key)} characters; at most {MAX_KEY} are allowed"
    return None if _is_encodable(key) else "a key holds half a character (a lone surrogate)"


def _is_encodable(text: str) -> bool:
    """Return whether text can be written as UTF-8: it has no half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
