"""The loader `table`: subjects from a CSV or TSV with the paths of their files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from softseg.core.errors import UserError
from softseg.core.names import unknown_name
from softseg.data.loaders.base import DatasetFields
from softseg.data.loaders.delimited import read_rows
from softseg.data.subject import MaskFile, Subject, SubjectFiles, is_missing

Rows = dict[str, dict[str, str]]  # value of the key column -> the other columns
Masks = dict[str, tuple[str, str]]  # column -> target, rater
_EMPTY = ("", "n/a")
_SESSION_COLUMNS = ("session_id", "session")
_NONE = "none"  # in any case, in place of a mask
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\ or a server


class TableDataset(DatasetFields):
    """Subjects from a table of paths, one line each.

    Columns: `subject`; one for each contrast and each target, with paths below root (a target's
    raters have columns `target:rater`); those that `dataset.roi` and a target's `confidence` name.
    All others are for splits.
    `none` in place of a mask's path means that there is no voxel of the target in the scan.
    """

    unused_target_keys: ClassVar = dict.fromkeys(
        ("label", "suffix", "contrast"), "remove it: the table has the paths of masks"
    )

    loader: Literal["table"]
    file: str
    """The table, TSV or CSV, relative to root. An empty cell or n/a: there is no such file. none,
    for a mask: the scan was looked at, and there is nothing of the target in it."""

    def __call__(self) -> list[Subject]:
        """Find the subjects, in natural order.

        Raises UserError if a column does not exist, and as `resolve_subjects` does.
        """
        root = self.existing_root()
        path = root / self.file
        rows = read_table(path, "subject")
        columns = list(next(iter(rows.values()), {}))
        parts = {column: column.partition(":") for column in columns}
        masks = {
            column: (target, rater)
            for column, (target, _, rater) in parts.items()
            if target in self.targets
        }
        required = [*self.contrasts, *self._confidences.values(), *([self.roi] if self.roi else [])]
        missing = [name for name in required if name not in columns]
        with_masks = {target for target, _ in masks.values()}
        missing += [target for target in self.targets if target not in with_masks]
        if missing:
            raise UserError(f"{path}: {unknown_name('column', missing[0], columns)}")
        files = [self._subject_files(root, name, row, masks) for name, row in rows.items()]
        return self.resolve_subjects(root, files, f"the paths in {self.file}")

    @property
    def _confidences(self) -> dict[str, str]:
        """Target -> the column of its maps of confidence, for targets with one."""
        columns = {name: target.confidence for name, target in self.targets.items()}
        return {name: column for name, column in columns.items() if column is not None}

    def _subject_files(
        self, root: Path, name: str, row: Mapping[str, str], masks: Masks
    ) -> SubjectFiles:
        """Return the files that one line names and that exist."""
        maps = self._confidences
        used = {*self.contrasts, *masks, *maps.values(), *([self.roi] if self.roi else [])}
        columns = {key: value for key, value in row.items() if key not in used}
        files = SubjectFiles(
            name,
            {"subject": name, **columns},
            searched=self._search_paths(row, masks),
            is_named=any(row[key] not in _EMPTY for key in used),
        )
        for contrast in self.contrasts:
            if path := existing_file(root, row[contrast], name):
                files.images[contrast] = [path]
        for column, (target, rater) in masks.items():
            if row[column].casefold() == _NONE:
                files.labels[target].append(MaskFile(None, rater=rater))
            elif path := existing_file(root, row[column], name):
                files.labels[target].append(MaskFile(path, rater=rater))
            elif row[column] not in _EMPTY:
                files.missing_raters[target].append(rater)
        for target, column in maps.items():
            if path := existing_file(root, row[column], name):
                files.confidences[target] = [path]
        if self.roi and row[self.roi].casefold() == _NONE:
            raise UserError(f"{name}: {self.roi} is none in {self.file}; an ROI needs a mask")
        if self.roi and (path := existing_file(root, row[self.roi], name)):
            files.rois.append(MaskFile(path))
        return files

    def _search_paths(self, row: Mapping[str, str], masks: Masks) -> dict[str, str]:
        """Return the paths in the cells of a line, or the columns of those that are empty."""

        def cells(*columns: str) -> str:
            paths = [row[column] for column in columns if row.get(column, "") not in _EMPTY]
            empty = f"a path under {', '.join(columns)} in {self.file}, where there is none"
            return ", ".join(paths) or empty

        def mask_cells(target: str, *columns: str) -> str:
            hint = f"; write none there if there is no {target} in the scan"
            filled = any(row.get(column, "") not in _EMPTY for column in columns)
            return cells(*columns) + ("" if filled else hint)

        searched = {f"image {contrast}": cells(contrast) for contrast in self.contrasts}
        for target in self.targets:
            columns = [column for column, (name, _) in masks.items() if name == target]
            searched[f"mask {target}"] = mask_cells(target, *columns)
            for rater in {rater for _, rater in masks.values()}:
                column = f"{target}:{rater}" if rater else target
                searched[f"mask {target} by rater {rater}"] = mask_cells(target, column)
        for target, column in self._confidences.items():
            searched[f"confidence {target}"] = cells(column)
        return {**searched, "roi": cells(self.roi) if self.roi else ""}


def existing_file(root: Path, cell: str, name: str) -> Path | None:
    """Return the file that a cell names, if it exists, below `root`.

    A path may have `\\` for `/`, and may be absolute. Raises UserError if it is outside root.
    """
    if cell in _EMPTY:
        return None
    if _WINDOWS.match(cell):
        raise UserError(f"{name}: {cell} is a path of Windows; write paths relative to {root}")
    path = Path(cell)
    if "\\" in cell and not (root / path).is_file():
        path = Path(cell.replace("\\", "/"))
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if ".." in path.parts or not (root / path).is_relative_to(root):
        raise UserError(f"{name}: {cell} is not below {root}; dataset.root must hold all files")
    return root / path if (root / path).is_file() else None


def read_table(path: Path, key: str | None = None) -> Rows:
    """Read a table: its key column's value -> the other columns, `n/a` kept as text.

    `key` names the column that identifies a row; None means the first one. Raises UserError for a
    file that is missing or is not a table, lacks the column, or has two columns of one name or two
    rows for one key.
    """
    table: Rows = {}
    for name, row in _read_lines(path, key):
        if table.setdefault(name, row) is not row:
            raise UserError(f"{path}: two lines for '{name}'; keep one")
    return table


@dataclass(frozen=True)
class SessionRows:
    """A table with a line for each subject, or for each session of a subject."""

    lines: dict[str, dict[str, dict[str, str]]]
    """Subject -> session (without `ses-`; "" in a line without one) -> the columns."""

    def find(self, subjects: Iterable[str], session: str) -> dict[str, str] | None:
        """Return the line of a session, or else that of its subject; None if there is none.

        `subjects` are the names that the table may use for the subject; a scan without a session
        has its subject's only line.
        """
        for of_subject in (self.lines[name] for name in subjects if name in self.lines):
            row = of_subject.get(session.removeprefix("ses-"), of_subject.get(""))
            only = next(iter(of_subject.values())) if len(of_subject) == 1 else None
            return row or (only if not session else None)
        return None


def read_session_rows(path: Path, key: str | None = None) -> SessionRows:
    """Read a table as `read_table` does, in which a column may name the session of each line.

    Raises UserError as `read_table` does, and for two different lines for one session.
    """
    lines: dict[str, dict[str, dict[str, str]]] = {}
    for name, row in _read_lines(path, key):
        cell = next((row[column] for column in _SESSION_COLUMNS if column in row), "")
        session = "" if is_missing(cell) else cell.strip().removeprefix("ses-")
        if lines.setdefault(name, {}).setdefault(session, row) != row:
            of_session = f" and session '{session}'" if session else ""
            raise UserError(
                f"{path}: two lines for '{name}'{of_session}; keep one, or name the session of "
                "each line in a column session_id"
            )
    return SessionRows(lines)


def _read_lines(path: Path, key: str | None) -> list[tuple[str, dict[str, str]]]:
    """Return each line's value in the key column, and its other columns. Raises UserError."""
    rows = read_rows(path)
    if not rows:
        raise UserError(f"{path}: is empty; give it a header line and a line per subject")
    key = key or next(iter(rows[0]))
    if len(rows[0]) == 1 and key not in rows[0] and " " in next(iter(rows[0])):
        kind = "commas" if path.suffix == ".csv" else "tabs"
        first = next(iter(rows[0]))
        raise UserError(
            f"{path}: has one column, {first!r}; save it with {kind} between the columns"
        )
    if key not in rows[0]:
        raise UserError(
            f"{path}: {unknown_name('column', key, rows[0])}; rename the column of the subjects to "
            f"'{key}'"
        )
    return [(row.pop(key), row) for row in rows]
