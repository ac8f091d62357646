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
        """The names of the placeholders, without repetition, in order."""
        names = (token[1] for token in _TOKEN.finditer(self.text))
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def literals(self) -> int:
        """The number of fixed characters: the more specific of two patterns has more."""
        return len(_TOKEN.sub("", self.text))

    def regex(self, allowed: Mapping[str, str] | None = None) -> re.Pattern[str]:
        """Return the pattern as a regular expression.

        `allowed` maps placeholders to the regular expression of what they may match.
        """
        pieces, end, seen = [], 0, set[str]()
        for token in _TOKEN.finditer(self.text):
            pieces.append(re.escape(self.text[end : token.start()]))
            name = token[1]
            if name is None:
                pieces.append("[^/]*")
            elif name in seen:
                pieces.append(f"(?P={name})")
            else:
                pieces.append(f"(?P<{name}>{(allowed or {}).get(name, '[^/]+')})")
                seen.add(name)
            end = token.end()
        return re.compile("".join([*pieces, re.escape(self.text[end:])]))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with the placeholders of `values` filled in, and `*` for the others."""
        return _TOKEN.sub(lambda token: values.get(token[1] or "", "*"), self.text)

    def find(
        self, root: Path, contrasts: Iterable[str] | None = None
    ) -> dict[Path, dict[str, str]]:
        """Return the files under `root` that match, in order, with the text of each placeholder.

        {contrast} matches one of `contrasts`; None: any text.
        """
        # the glob lists few folders and matches at least what the regular expression does
        wide = "*".join(glob.escape(part) for part in re.split(r"\{[^{}]*\}|\*", self.text))
        of_contrasts = "|".join(re.escape(contrast) for contrast in contrasts or ())
        regex = self.regex(None if contrasts is None else {"contrast": of_contrasts})
        matches = {}
        for name in sorted(glob.glob(wide, root_dir=root)):  # noqa: PTH207 (skips hidden files)
            match = regex.fullmatch(name.replace(os.sep, "/"))
            if match:
                matches[root / name] = match.groupdict()
        return matches


def check_pattern(text: str) -> str:
    """Return a path pattern.

    Raises ValueError for unknown placeholders, stray braces and paths that leave the root.
    """
    for name in Pattern(text).placeholders:
        if name not in PLACEHOLDERS:
            near = did_you_mean(name, PLACEHOLDERS)
            available = ", ".join(f"{{{n}}}" for n in PLACEHOLDERS)
            raise ValueError(f"unknown placeholder {{{name}}}{near}; placeholders are {available}")
    if set("{}") & set(_TOKEN.sub("", text)):
        raise ValueError(f"a brace without its partner in {text!r}")
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{text!r} is not a path below dataset.root")
    return text


PathPattern = Annotated[str, AfterValidator(check_pattern)]
