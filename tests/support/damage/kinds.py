"""Kinds of damage: how their files are written, and the expected outcome of reading them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Accepted:
    """The file is read; `how` describes how its peculiarity is handled."""

    how: str


@dataclass(frozen=True, init=False)
class Rejected:
    """The file is rejected in a message with its name, a fix and these words."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)


@dataclass(frozen=True, eq=False)
class Made:
    """A file, and the content that a correct reader returns if it accepts the file."""

    path: Path
    data: NDArray[np.float64]
    """(X, Y, Z) in the file's own units."""
    affine: NDArray[np.float64]


Write = Callable[[np.random.Generator, Path], Made]
Inject = Callable[[pytest.MonkeyPatch, Path], None]


@dataclass(frozen=True)
class Kind:
    """One kind of damage; `write` creates a different file of it for every seed."""

    name: str
    write: Write
    outcome: Accepted | Rejected
    inject: Inject | None = None
    """A fault of the system, for damage that cannot exist on disk (root may read everything)."""

    def __str__(self) -> str:
        return self.name
