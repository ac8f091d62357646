"""softseg from Python: what the commands do, as functions that return their results.

For what the user can fix, every function raises `softseg.core.errors.UserError` with the message
that the command would print, and leaves no half-written file. `train` and `evaluate` set torch's
number of threads to the run's, for the whole process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from softseg.config.load import load_experiment
from softseg.config.shipped import find_config, which_config
from softseg.core.console import open_console
from softseg.core.errors import UserError, combined_error, python_arguments
from softseg.evaluation import evaluate as evaluation
from softseg.inference.model import open_model, with_mirroring
from softseg.inference.predict import Options, predict_scans
from softseg.inference.roi import assign_rois
from softseg.inference.scans import find_scans
from softseg.inference.segmenter import Segmenter, check_batch_size
from softseg.measurement.intervals import open_calibration
from softseg.measurement.measure import (
    DEFAULT_AXIS,
    Measures,
    check_out,
    measure_folder,
    tabulate,
    write_measures,
)
from softseg.runs.folder import Run
from softseg.runs.lock import exclusive
from softseg.runs.volume_calibration import AXES, Axis
from softseg.training import train as training

PathLike = str | Path


@python_arguments()
def train(
    config: PathLike,
    *,
    changes: Sequence[str] = (),
    out: PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    extend: bool = False,
    quiet: bool = False,
) -> Path:
    """Train the experiment of a YAML file; returns the run's folder.

    Args:
        config: the YAML file, or the name of a configuration that comes with softseg.
        changes: changes of its keys, as for `--set`, e.g. `["trainer.max_epochs=5"]`.
        out: the run's folder; None: `runs/<name>`.
        resume: resume an existing run from its last completed epoch.
        overwrite: delete an existing run and start over.
        extend: with `resume`, accept a larger `trainer.max_epochs` (constant schedule only).
        quiet: print nothing.

    Raises TrainingError if training breaks down (the loss is not finite).
    """
    if resume and overwrite:
        raise UserError("resume and overwrite cannot be combined: choose one")
    if extend and not resume:
        raise UserError("extend needs resume: it trains an existing run longer")
    file, console = find_config(Path(config)), open_console(quiet)
    if line := which_config(Path(config), file):
        console.print(line, highlight=False, markup=False)
    experiment = load_experiment(file, list(changes))
    folder = Path("runs") / experiment.name if out is None else Path(out)
    with exclusive(Run(folder)):
        run = training.train(
            experiment, folder, console, resume=resume, overwrite=overwrite, extend=extend
        )
        return run.folder


@python_arguments()
def evaluate(
    run: PathLike,
    *,
    threshold_search: bool = False,
    threshold: float | None = None,
    split: str = "test",
    data: PathLike | None = None,
    changes: Sequence[str] = (),
    overwrite: bool = False,
    overlay: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Score a trained run in native space; returns one row per subject and target.

    Args:
        run: the run's folder; metrics.csv, summary.json and predictions/ are written into it.
        threshold_search: first find each target's threshold on training and validation scans.
        threshold: binarization threshold in [0, 1]; None: that of a threshold search, or 0.5.
        split: train, validation or test.
        data: score all subjects of another dataset instead: a YAML file with a section `dataset`,
            or a folder for the loader of the run; files are named `metrics-<name>.csv` etc.
        changes: changes of the run's configuration, as for `--set`.
        overwrite: replace the results of a run that is part of an ablation.
        overlay: also write a PNG of each scan, with the slices of the largest error.
        quiet: print nothing.
    """
    scored = evaluation.evaluate(
        Run(Path(run)),
        open_console(quiet),
        search=threshold_search,
        threshold=threshold,
        set_name=split,
        data=None if data is None else Path(data),
        changes=changes,
        overwrite=overwrite,
        overlay=overlay,
    )
    return scored.table


@python_arguments()
def predict(
    model: PathLike,
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    roi: PathLike | None = None,
    center: tuple[float, float, float] | None = None,
    threshold: float | None = None,
    batch_size: int | None = None,
    mirror: bool | None = None,
    overlay: bool = False,
    labels: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> list[Path]:
    """Segment scans on disk; returns the files written below `out`.

    Args:
        model: a run's folder, or a package.
        inputs: files, folders, a BIDS dataset, or `CONTRAST=FILE`; a single one needs no list.
        out: folder of the soft (float32) and binary (uint8) segmentations, on the scans' grids.
        roi: an ROI mask or a folder of them, for a model that was trained around one.
        center: center voxel (3,) of the region to segment, instead of an ROI mask.
        threshold: binarization threshold in [0, 1]; None: the model's.
        batch_size: slices or windows at once; None: as many as fit into memory.
        mirror: whether to average over mirror images; None: as `evaluate.mirror` of the model says.
        overlay: also write a PNG of each scan, with the slices of the largest area.
        labels: also write one integer label map per scan (`_dseg.nii.gz`).
        device: auto, cpu, cuda, cuda:1 or mps.
        quiet: print nothing.

    Raises UserError, after all other scans are segmented, naming each scan that could not be.
    """
    evaluation.check_threshold(threshold)
    check_batch_size(batch_size)
    opened = with_mirroring(open_model(Path(model), device), mirror)
    paths = [inputs] if isinstance(inputs, str | Path) else inputs
    scans = find_scans([str(path) for path in paths], opened.contrasts)
    voxel = None if center is None else ",".join(map(str, center))
    assignment = assign_rois(opened, scans, None if roi is None else Path(roi), voxel)
    options = Options(
        threshold, assignment.center, batch_size=batch_size, overlay=overlay, labels=labels
    )
    done = predict_scans([opened], assignment.scans, Path(out), open_console(quiet), options)
    if problems := [*assignment.problems, *done.problems]:
        raise combined_error(f"{len(problems)} scan(s) could not be segmented:", problems)
    return done.written


@python_arguments()
def measure(
    folder: PathLike,
    *,
    out: PathLike | None = None,
    axis: Axis = DEFAULT_AXIS,
    calibrate: PathLike | None = None,
    level: float = 0.9,
    repeats: PathLike | None = None,
    quiet: bool = False,
) -> Measures:
    """Measure segmentations that `predict` or `evaluate` wrote; returns the tables.

    Args:
        folder: folder of the soft maps and masks.
        out: CSV file of the scans, next to which the other tables and the figures are written;
            None: nothing is written.
        axis: direction in which slices follow each other: inferior-superior, posterior-anterior or
            left-right.
        calibrate: run's folder or package that made the segmentations, for intervals.
        level: probability of the intervals, in (0, 1).
        repeats: table with the columns `scan` and `person`; None: BIDS names that differ in `run-`.
        quiet: print nothing.

    The tables `scans`, `slices`, `lesions` and `repeatability` have the columns of the CSV files.
    """
    if axis not in AXES:
        raise UserError(f"axis must be {', '.join(AXES)}, not {axis!r}")
    if not 0 < level < 1:
        raise UserError(f"level must be above 0 and below 1, such as 0.9, not {level!r}")
    if out is not None:
        check_out(Path(out))
    console = open_console(quiet)
    measured = measure_folder(
        Path(folder), console, axis=axis, repeats=None if repeats is None else Path(repeats)
    )
    calibration = None
    if calibrate is not None:
        calibration = open_calibration(Path(calibrate), console, level)
    measures = tabulate(measured, calibration, level)
    if out is not None:
        write_measures(measures, Path(out))
    return measures


@python_arguments()
def load_model(path: PathLike, device: str = "auto") -> Segmenter:
    """Open a run's folder or a package, for `load_model(path)(nibabel.load("scan.nii.gz"))`."""
    return Segmenter(open_model(Path(path), device))
