"""Measure all segmentations in a folder, and write tables and figures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from softseg.core.errors import UserError, combined_error
from softseg.core.files import check_writable, os_error_message, write_atomically
from softseg.core.names import listing
from softseg.measurement.intervals import Calibration, Margins, check_same_model
from softseg.measurement.repeats import (
    persons_by_name,
    repeatability_table,
    repeats_by_name,
    repeats_by_table,
)
from softseg.measurement.scan_measures import ScanMeasures, measure_scan
from softseg.measurement.segmentations import (
    Segmentation,
    find_segmentations,
    read_segmentation,
    read_sidecar,
)
from softseg.render.figures.measures import plot_areas, plot_repeated_volumes, plot_volumes
from softseg.render.figures.style import FigureFormat
from softseg.runs.volume_calibration import AXES, KINDS, Axis

DEFAULT_AXIS: Axis = "inferior-superior"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measures:
    """The tables of a folder's segmentations; `scan` and `target` are the first columns of each."""

    scans: pd.DataFrame
    slices: pd.DataFrame
    lesions: pd.DataFrame
    repeatability: pd.DataFrame
    """A row per target and kind of volume; empty if no scan is repeated."""
    groups: dict[str, str]
    """Scan -> its group of repeated scans."""
    axis: Axis
    """Of the slices: a key of `AXES`."""
    level: float
    """The probability of the intervals."""

    @property
    def has_intervals(self) -> bool:
        """Whether a calibration gave intervals."""
        return "soft_low_ml" in self.scans


@dataclass(frozen=True)
class MeasuredFolder:
    """What was measured in a folder, without intervals."""

    measured: dict[Segmentation, ScanMeasures]
    sidecars: dict[Path, Mapping[str, Any]]
    """Mask -> its JSON file; empty if it has none."""
    persons: dict[str, str]
    groups: dict[str, str]
    axis: Axis


def measure_folder(
    folder: Path, console: Console, *, axis: Axis = DEFAULT_AXIS, repeats: Path | None = None
) -> MeasuredFolder:
    """Measure every segmentation in a folder and its subfolders; nothing is written.

    Args:
        folder: of what `softseg predict` or `eval` wrote.
        console: where the progress is printed.
        axis: the direction along which slices follow each other, a key of `AXES`.
        repeats: a table of the person of each scan, whose scans are repeats; None: BIDS names.

    Raises one UserError for all segmentations that cannot be used.
    """
    problems: list[str] = []
    found = find_segmentations(folder, problems)
    names = list(dict.fromkeys(each.scan for each in found))
    persons, groups = persons_by_name(names), repeats_by_name(names)
    if repeats is not None:
        named = repeats_by_table(repeats, names)
        persons |= named
        groups = {name: f"person {named[name]}" if name in named else name for name in names}
    measured: dict[Segmentation, ScanMeasures] = {}
    sidecars: dict[Path, Mapping[str, Any]] = {}
    hidden = not console.is_terminal
    for each in track(found, "measuring", console=console, transient=True, disable=hidden):
        try:
            sidecars[each.mask] = read_sidecar(each.mask)
            measured[each] = measure_scan(read_segmentation(each), AXES[axis])
        except UserError as error:
            problems += str(error).splitlines()
        except OSError as error:
            problems.append(os_error_message(error))
    if problems:
        raise combined_error(f"{folder}: these segmentations cannot be measured:", problems)
    return MeasuredFolder(measured, sidecars, persons, groups, axis)


def tabulate(
    folder: MeasuredFolder, calibration: Calibration | None = None, level: float = 0.9
) -> Measures:
    """Return the tables, with intervals of this probability in (0, 1) if there is a calibration.

    Raises UserError for segmentations of another model than the calibrated one, and for too few
    validation scans.
    """
    margins: Mapping[str, Margins] = {}
    if calibration is not None:
        targets = {each.mask: each.target for each in folder.measured}
        check_same_model(folder.sidecars, targets, calibration)
        margins = calibration.margins(folder.axis, level)
        _warn_of_sidecars(folder.sidecars, calibration)
    tables: dict[str, list[dict[str, Any]]] = {"scans": [], "slices": [], "lesions": []}
    for each, measures in folder.measured.items():
        name, own = {"scan": each.scan, "target": each.target}, margins.get(each.target)
        row = _with_interval(measures.scan, "ml", own.volume_ml if own else {})
        tables["scans"].append({**name, "person": folder.persons[each.scan], **row})
        area = own.area_mm2 if own else {}
        tables["slices"] += [{**name, **_with_interval(s, "mm2", area)} for s in measures.slices]
        tables["lesions"] += [{**name, **lesion} for lesion in measures.lesions]
    frames = {key: pd.DataFrame(rows) for key, rows in tables.items()}
    if frames["lesions"].empty:
        frames["lesions"] = pd.DataFrame(columns=["scan", "target", "lesion"])
    repeatability = repeatability_table(frames["scans"], folder.groups)
    return Measures(**frames, repeatability=repeatability, groups=folder.groups,
                    axis=folder.axis, level=level)  # fmt: skip


def _warn_of_sidecars(sidecars: Mapping[Path, Mapping[str, Any]], calibration: Calibration) -> None:
    """Warn of scans that the model has learned from, and of masks of unknown origin."""
    learned, unknown = [], []
    for path, sidecar in sidecars.items():
        listed = sidecar.get("Sources")
        sources = listed if isinstance(listed, list) else []
        if calibration.learned.intersection(Path(str(source)).resolve() for source in sources):
            learned.append(path.name)
        if not {"Model", "Threshold"} <= set(sidecar):
            unknown.append(path.name)
    if learned:
        _log.warning(
            "%d segmentation(s) are of training or validation scans, so their intervals do not "
            "hold: %s", len(learned), listing(learned, 5),
        )  # fmt: skip
    if unknown:
        _log.warning(
            "%d mask(s) have no JSON file with Model and Threshold, so softseg cannot check that "
            "%s made them: %s", len(unknown), calibration.errors.model, listing(unknown, 5),
        )  # fmt: skip


def _with_interval(
    row: Mapping[str, Any], unit: str, margins: Mapping[Any, float]
) -> dict[str, Any]:
    """Return a row with the ends of the intervals after `soft_<unit>` and `binary_<unit>`."""
    extended: dict[str, Any] = {}
    for column, value in row.items():
        extended[column] = value
        kind = column.removesuffix(f"_{unit}")
        if kind in margins and kind in KINDS:
            extended[f"{kind}_low_{unit}"] = max(0.0, value - margins[kind])
            extended[f"{kind}_high_{unit}"] = value + margins[kind]
    return extended


def check_out(out: Path) -> None:
    """Raise UserError if the tables cannot be written as `out`, before anything is measured."""
    if out.suffix.lower() != ".csv" or out.is_dir():
        raise UserError(f"--out {out}: name a file that ends in .csv")
    check_writable(out.parent)


def write_measures(measures: Measures, out: Path, form: FigureFormat = "png") -> list[Path]:
    """Write the tables and figures; return their paths, that of the scans, `out`, first.

    The names of the others begin with that of `out`: `_slices.csv`, `_lesions.csv`,
    `_repeatability.csv`, `_volumes.png`, `_areas.png`, `_repeatability.png`. Without repeated
    scans, files about them that an earlier measurement wrote are deleted. `form` is a format of
    the figures in addition to PNG.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    tables = {
        out: measures.scans,
        _next_to(out, "slices.csv"): measures.slices,
        _next_to(out, "lesions.csv"): measures.lesions,
    }
    repeated = _next_to(out, "repeatability.csv")
    pictures = [_next_to(out, f"volumes.{form}"), _next_to(out, f"areas.{form}")]
    plot_volumes(measures.scans, pictures[0], measures.level)
    plot_areas(measures.slices, pictures[1], measures.axis)
    picture = _next_to(out, f"repeatability.{form}")
    if measures.repeatability.empty:
        for stale in (repeated, *(picture.with_suffix(f".{s}") for s in ("png", "pdf", "svg"))):
            stale.unlink(missing_ok=True)
    else:
        tables[repeated] = measures.repeatability
        plot_repeated_volumes(measures.scans, measures.groups, measures.repeatability, picture)
        pictures.append(picture)
    for path, table in tables.items():
        write_atomically(path, table.to_csv(index=False, float_format="%.6g"))
    return [*tables, *(path.with_suffix(".png") for path in pictures)]


def _next_to(out: Path, ending: str) -> Path:
    """`measures.csv` -> `measures_<ending>`."""
    return out.with_name(f"{out.stem}_{ending}")


def describe_missing_repeats(groups: Mapping[str, str], by_table: bool) -> str:
    """Return why there is no repeatability, and what would give it."""
    if by_table:
        return "no person of --repeats has several scans here, so there is no repeatability"
    return (
        f"none of the {len(groups)} scans is repeated (BIDS names that differ in run- only): no "
        "repeatability; --repeats TABLE names the person of each scan"
    )
