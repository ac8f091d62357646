"""The loader `table`: subjects from a CSV or TSV that says where each of their files is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing
from softseg.data.loaders.base import DatasetFields
from softseg.data.loaders.read_table import read_table
from softseg.data.loaders.subject_files import Found, Mask
from softseg.data.subject import Subject

_NOTHING = ("", "n/a")


class TableDataset(DatasetFields):
    """Subjects from a table of paths, one line each.

    Columns: `subject`; one a contrast and one a target, with paths below root (a target's raters
    have columns `target:rater`); `roi`, if dataset.roi names it; every other column is for splits.
    """

    loader: Literal["table"]
    file: str
    """The table, TSV or CSV, relative to root. An empty cell or n/a: there is no such file."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, target in self.targets.items():
            for key in ("label", "suffix", "contrast"):
                if getattr(target, key) is not None:
                    raise ValueError(f"targets.{name}.{key}: the table says where masks are")
        return self

    def __call__(self) -> list[Subject]:
        """Find the subjects, in natural order of their names.

        Raises UserError when root, table or a column is not there, or, in one error, for every
        file that is missing, be it one rater's mask of several.
        """
        root = self.existing_root()
        rows = read_table(root / self.file, "subject")
        self._check_columns(root / self.file, next(iter(rows.values()), {}))
        found = [self._found(root, name, row) for name, row in rows.items()]
        return self.settle(root, found, f"the paths in {self.file}")

    def _check_columns(self, path: Path, row: Mapping[str, str]) -> None:
        wanted = [*self.contrasts, *([self.roi] if self.roi else [])]
        known = [*row, *(column.partition(":")[0] for column in row)]
        for name in [*wanted, *self.targets]:
            if name not in (row if name in wanted else known):
                there = f"{did_you_mean(name, row)}; there are {listing(row)}"
                raise UserError(f"{path}: no column '{name}'{there}")

    def _found(self, root: Path, name: str, row: Mapping[str, str]) -> Found:
        used = {*self.contrasts, self.roi, *self._columns_of_masks(row)}
        columns = {key: value for key, value in row.items() if key not in used}
        is_named = any(row[key] not in _NOTHING for key in used if key)
        found = Found(name, {"subject": name, **columns}, sought=self._sought(row),
                      is_named=is_named)  # fmt: skip
        for contrast in self.contrasts:
            if path := _below(root, row[contrast], name):
                found.images[contrast] = [path]
        for column, (target, rater) in self._columns_of_masks(row).items():
            if path := _below(root, row[column], name):
                found.add_label(target, Mask(path, rater=rater))
            elif row[column] not in _NOTHING:
                found.lost.setdefault(target, []).append(rater)
        if self.roi and (path := _below(root, row[self.roi], name)):
            found.rois.append(Mask(path))
        return found

    def _columns_of_masks(self, row: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Column -> target and rater ("" where raters are not told apart)."""
        parts = {column: column.partition(":") for column in row}
        return {c: (target, rater) for c, (target, _, rater) in parts.items()
                if target in self.targets}  # fmt: skip

    def _sought(self, row: Mapping[str, str]) -> dict[str, str]:
        masks = self._columns_of_masks(row)
        images = {f"image {c}": self._told(row, c) for c in self.contrasts}
        labels = {
            f"mask {t}": self._told(row, *(c for c, (of, _) in masks.items() if of == t))
            for t in self.targets
        }
        raters = {
            f"mask {t} by rater {rater}": self._told(row, f"{t}:{rater}" if rater else t)
            for t in self.targets
            for rater in {rater for _, rater in masks.values()}
        }
        roi = self._told(row, self.roi) if self.roi else ""
        return {**images, **labels, **raters, "roi": roi}

    def _told(self, row: Mapping[str, str], *columns: str) -> str:
        """The files that cells name; where none of them does, which columns those are."""
        cells = [row[column] for column in columns if row.get(column, "") not in _NOTHING]
        nothing = f"a path under {', '.join(columns)} in {self.file}, where there is none"
        return ", ".join(cells) or nothing


def _below(root: Path, cell: str, name: str) -> Path | None:
    """The file that a cell names, if it is there. Raises UserError for one outside the root."""
    if cell in _NOTHING:
        return None
    path = root / cell
    if ".." in Path(cell).parts or not path.is_relative_to(root):
        raise UserError(f"{name}: {cell} is not below {root}; dataset.root must hold all files")
    return path if path.is_file() else None
