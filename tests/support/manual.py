"""The code blocks of README and manual, as tests use them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line it starts in, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Return all blocks in any of these languages."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            page = path.relative_to(ROOT).as_posix()
            indent = len(match[1])
            content = "".join(row[indent:] for row in match[3].splitlines(keepends=True))
            found.append(Block(page, line, match[2], content))
    return [block for block in found if block.language in languages]


def commands(block: Block) -> list[list[str]]:
    """Return the words of each `softseg` command of a block of shell commands, without `softseg`.

    A comment ends a line, a backslash continues it, and `&&` or `;` separates two commands; a
    variable is replaced by 1.
    """
    text = re.sub(r"\$[A-Z_]+", "1", block.text.replace("\\\n", " "))
    found = []
    for line in text.splitlines():
        if not re.match(r"(\$ )?(.*(&&|;) )?softseg ", line):
            continue
        words = shlex.split(line.removeprefix("$ "), comments=True)
        while words:
            ends = [words.index(end) for end in ("&&", ";", "|", ">") if end in words]
            end = min(ends, default=len(words))
            if words[0] == "softseg":
                found.append(words[1:end])
            words = words[end + 1 :]
    return found
