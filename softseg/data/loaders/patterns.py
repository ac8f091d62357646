"""Path patterns such as `site{center}-sc{subject}-image.nii.gz`, and the files they match."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from softseg.core.names import did_you_mean

PLACEHOLDERS = ("subject", "center", "contrast", "rater", "session", "grade")
_TOKEN = re.compile(r"\{([^{}]*)\}|\*")


@dataclass(frozen=True)
class Pattern:
    """Text with {placeholders}, each matching one piece without `/`, and `*` for any piece.

    A placeholder that occurs twice must match the same text.
    """

    text: str

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Their names, once each, in order."""
        names = (found[1] for found in _TOKEN.finditer(self.text))
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def literals(self) -> int:
        """How many characters are not left open: of two patterns, the more specific has more."""
        return len(_TOKEN.sub("", self.text))

    def regex(self, allowed: Mapping[str, str] | None = None) -> re.Pattern[str]:
        """The pattern as a regular expression; `allowed`: placeholder -> what it may match."""
        pieces, end, seen = [], 0, set[str]()
        for found in _TOKEN.finditer(self.text):
            pieces.append(re.escape(self.text[end : found.start()]))
            pieces.append(_piece(found[1], seen, allowed or {}))
            end = found.end()
        return re.compile("".join([*pieces, re.escape(self.text[end:])]))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with known placeholders filled in and `*` for the others."""
        return _TOKEN.sub(lambda found: values.get(found[1] or "", "*"), self.text)

    def find(self, root: Path, contrasts: Iterable[str]) -> dict[Path, dict[str, str]]:
        """The files under `root` that match, in order, each with what its placeholders matched."""
        allowed = {"contrast": "|".join(re.escape(contrast) for contrast in contrasts)}
        regex = self.regex(allowed)
        found = {}
        for name in sorted(glob.glob(self._wide(), root_dir=root)):  # noqa: PTH207 (skips dotfiles)
            match = regex.fullmatch(name.replace(os.sep, "/"))
            if match:
                found[root / name] = match.groupdict()
        return found

    def _wide(self) -> str:
        """A glob that matches at least what the pattern does, so that few folders are listed."""
        parts = [glob.escape(part) for part in re.split(r"\{[^{}]*\}|\*", self.text)]
        return "*".join(parts)


def _piece(name: str | None, seen: set[str], allowed: Mapping[str, str]) -> str:
    if name is None:
        return "[^/]*"
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    return f"(?P<{name}>{allowed.get(name, '[^/]+')})"


def check_pattern(text: str) -> str:
    """Refuse (ValueError) unknown placeholders, stray braces and paths that leave the root."""
    for name in Pattern(text).placeholders:
        if name not in PLACEHOLDERS:
            near = did_you_mean(name, PLACEHOLDERS)
            known = ", ".join(f"{{{n}}}" for n in PLACEHOLDERS)
            raise ValueError(f"unknown placeholder {{{name}}}{near}; there are {known}")
    if set("{}") & set(_TOKEN.sub("", text)):
        raise ValueError(f"a brace without its partner in {text!r}")
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{text!r} is not a path below dataset.root")
    return text


PathPattern = Annotated[str, AfterValidator(check_pattern)]
