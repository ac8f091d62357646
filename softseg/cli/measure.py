"""`softseg measure`: volumes, areas, lesions and repeatability of segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from softseg.cli.options import AsJson, Device, Format, Sets, changes
from softseg.core.console import open_console, print_json


def measure(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of segmentations that `predict` or `eval` wrote.", metavar="FOLDER"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="CSV file of the scans (default: measures.csv in FOLDER); the names of the other "
            "tables and of the figures begin with its name.",
        ),
    ] = None,
    axis: Annotated[
        Literal["inferior-superior", "posterior-anterior", "left-right"],
        typer.Option(help="Direction in which slices follow each other, for their areas."),
    ] = "inferior-superior",
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The run or the package that made the segmentations: add intervals, calibrated "
            "on its validation scans.",
        ),
    ] = None,
    level: Annotated[
        float, typer.Option(help="Probability of the intervals, above 0 and below 1.")
    ] = 0.9,
    repeats: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="CSV or TSV with the columns scan and person: scans of a person are repeats "
            "(default: BIDS names that differ in run- only).",
        ),
    ] = None,
    set_: Sets = None,
    device: Device = None,
    format: Format = "png",
    json_: AsJson = False,
) -> None:
    """Measure segmentations: volumes, areas of slices, lesions, repeatability."""
    if not 0 < level < 1:
        raise typer.BadParameter(f"--level {level:g}: must be above 0 and below 1, such as 0.9")
    if calibrate is None and (set_ or device):
        raise typer.BadParameter("--set and --device are for the run of --calibrate")
    from softseg.measurement.intervals import open_calibration
    from softseg.measurement.measure import (
        check_out,
        describe_missing_repeats,
        measure_folder,
        tabulate,
        write_measures,
    )
    from softseg.measurement.output import as_json, repeatability_rows, volumes_table

    console, path = open_console(to_stderr=json_), out or folder / "measures.csv"
    check_out(path)
    measured = measure_folder(folder, console, axis=axis, repeats=repeats)
    calibration = None
    if calibrate is not None:
        calibration = open_calibration(calibrate, console, level, changes(set_, device))
    measures = tabulate(measured, calibration, level)
    files = write_measures(measures, path, format)
    console.print(volumes_table(measures))
    if measures.repeatability.empty:
        missing = describe_missing_repeats(measures.groups, repeats is not None)
        console.print(missing, highlight=False, markup=False)
    else:
        console.print(repeatability_rows(measures.repeatability))
    names = ", ".join(file.name for file in files)
    console.print(f"{path.parent}: {names}", highlight=False, markup=False)
    if json_:
        print_json(as_json(measures, [str(file) for file in files]))
