"""What a kind of damage is: how its files are made, and what must become of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Accepted:
    """The file is read; `how` says what becomes of its oddity."""

    how: str


@dataclass(frozen=True, init=False)
class Rejected:
    """The file is refused by name, with a mend, in a message that holds these words."""

    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)


@dataclass(frozen=True, eq=False)
class Made:
    """A file, and what a right reader finds in it if it accepts it."""

    path: Path
    data: NDArray[np.float64]
    """(X, Y, Z) in the file's own units."""
    affine: NDArray[np.float64]


Write = Callable[[np.random.Generator, Path], Made]
Inject = Callable[[pytest.MonkeyPatch, Path], None]


@dataclass(frozen=True)
class Kind:
    """One kind of damage; `write` makes a file of it, another one for every seed."""

    name: str
    write: Write
    outcome: Accepted | Rejected
    inject: Inject | None = None
    """A fault of the system, for what cannot be made on disk (root may read everything)."""

    def __str__(self) -> str:
        return self.name
