"""Small harmful files and paths that are not files, each with the start of its error message."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_BASE = b"extends: scgm_softseg.yaml\n"
_ABLATION = _BASE + b"splits: {name: leave_one_out}\ncandidates:\n"
_LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
)
BOMBS: dict[str, tuple[bytes, str]] = {
    "billion laughs": (_LAUGHS.encode(), "x.yaml:1: anchors"),
    "alias to itself": (b"a: &a [*a]\n", "x.yaml:1: anchors"),
    "deep flow": (b"a: " + b"[" * 10**4, "x.yaml:1: nested deeper"),
    "deep dashes": (b"a:\n" + b"- " * 10**4 + b"1", "x.yaml:2: nested deeper"),
    "deep questions": (b"? " * 10**4 + b"1", "x.yaml:1: nested deeper"),
    "deep blocks": (b"".join(b" " * n + b"a:\n" for n in range(900)), "x.yaml:50: nested deeper"),
    "many numbers": (b"a: [" + b"1," * 240_000 + b"1]", "x.yaml:1: more than 20,000"),
    "many items": (b"a:\n" + b"- 1\n" * 120_000, "x.yaml:10000: more than 20,000"),
    "many keys": (b"".join(b"k%d: 1\n" % n for n in range(600)), "x.yaml:1: more than 500 keys"),
    "many directives": (b"%a\n" * 160_000, "x.yaml:20001: more than 20,000"),
    "many words": (b"a: " + b"x " * 240_000, "x.yaml: 5 problems"),
    "many breaks": (b"\n" * 490_000, "x.yaml:1: the file is empty"),
    "long key": (b"? " + b"k" * 400_000 + b"\n: 1", "x.yaml:1: a key of 400000 characters"),
    "long number": (b"a: " + b"9" * 400_000, "x.yaml:1: a: the number is too large"),
    "long fraction": (b"a: 0." + b"9" * 400_000, "x.yaml: 5 problems"),
    "1e999": (b"seed: 1e999", "x.yaml:1: seed: must be a finite number"),
    "date": (_BASE + b"seed: 2024-01-01", "x.yaml:2: seed: must be a whole number"),
    "binary": (b"name: !!binary aGk=", "x.yaml:1: tags"),
    "object": (b"a: 1\nb: !!python/object/apply:os.system [x]", "x.yaml:2: tags"),
    "twice": (b"name: x\nname: y", "x.yaml:2: name: written twice (also x.yaml:1)"),
    "tab": (b"a:\n\tb: 1", "x.yaml:2: a tab"),
    "nul": (b"a: 1\nb: \x00", "x.yaml:2: a character that YAML does not allow"),
    "not UTF-8": (b"a: 1\r\nb: \xff\xfe", "x.yaml:2: not UTF-8"),
    "UTF-16": ("name: x".encode("utf-16"), "x.yaml:1: not UTF-8"),
    "merge": (b"a: 1\n<<: {b: 1}", "x.yaml:2: merge keys"),
    "documents": (b"a: 1\n---\nb: 1", "x.yaml:2: a second document"),
    "other keys": (b"a: 1\ntrue: 1", "x.yaml:2: the key true must be text"),
    "extends itself": (b"a: 1\nextends: x.yaml", "x.yaml:2: extends: leads back to"),
    "extends a folder": (b"extends: .", "x.yaml:1: extends: no file"),
    "extends a device": (b"extends: /dev/zero", "x.yaml:1: extends: no file /dev/zero"),
    "extends a long name": (b"extends: " + b"x" * 300, "x.yaml:1: extends: text 'xxx"),
    "extends NUL": (b'extends: "a\\0b"', "x.yaml:1: extends: the text holds a NUL"),
    "a thousand wrong values": (_BASE + b"split:\n  test: [" + b"{}," * 4000 + b"1]",
                                "x.yaml: 4000 problems"),
    "targets": (_BASE + b"dataset:\n  targets:\n"
                + b"".join(b"    t%d: {values: [x], a: 1}\n" % n for n in range(450)),
                "x.yaml: 1350 problems"),
    "candidates": (_ABLATION
                   + b"".join(b"  c%d: {trainer.max_epochs: 5}\n" % n for n in range(450)), ""),
    "differences": (_ABLATION + b"  a:\n"
                    + b"".join(b"    trainer.k%d: 5\n" % n for n in range(450)),
                    "x.yaml: 450 problems"),
    "a deep difference": (_ABLATION + b"  a:\n    " + b"a." * 60 + b"a: 5\n",
                          "x.yaml:5: nested deeper"),
}  # fmt: skip


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(50_000_000)


NO_CONFIGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "a directory"),
    "a pipe": (_pipe, "a pipe or a device"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
    "a circle of links": (lambda path: path.symlink_to(path), "cannot be read"),
    "50 MB": (_large, "larger than 500,000 bytes"),
    "nothing at all": (lambda path: path.touch(), "the file is empty"),
}
