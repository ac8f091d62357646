"""Who trains, validates and tests, on disk: split.json."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.core.json_file import read_json

SETS = ("train", "validation", "test")


@dataclass(frozen=True)
class Sets:
    """The names of the subjects in each set, in natural order; no subject is in two."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def members(self) -> frozenset[str]:
        """Every subject that is in a set."""
        return frozenset((*self.train, *self.validation, *self.test))


def write_split(path: str | Path, sets: Sets) -> None:
    """Write the sets as JSON, in one step."""
    write_atomically(Path(path), json.dumps(asdict(sets), indent=2) + "\n")


def read_split(path: str | Path) -> Sets:
    """Read the sets from `{"train": [names], "validation": [..], "test": [..]}`.

    Raises UserError for a file that is missing or no such JSON, for an empty set and for a subject
    that is in two.
    """
    content = _content(Path(path))
    if not isinstance(content, dict) or set(content) != set(SETS):
        raise UserError(f"{path}: must be a mapping of exactly {', '.join(SETS)}")
    for key, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: {key} must be a list of subjects' names (text)")
        if not names:
            raise UserError(f"{path}: {key} is empty; name at least one subject")
    counts = Counter(name for names in content.values() for name in names)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(f"{path}: {', '.join(twice)} named more than once; keep one each")
    return Sets(**{key: tuple(names) for key, names in content.items()})


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check split.file") from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); mend it or write it again") from error
