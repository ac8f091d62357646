"""softseg from Python: what the commands do, as functions that return what they made.

For what the user can fix, every function raises `softseg.core.errors.UserError` with the message
that the command would print, and leaves no half-written file. `train` and `evaluate` set torch's
number of threads to the run's, for the whole process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from softseg.config.load import load_experiment
from softseg.core.console import open_console
from softseg.core.errors import UserError, combined_error
from softseg.evaluation import evaluate as evaluation
from softseg.inference.model import open_model
from softseg.inference.predict import Options, predict_scans
from softseg.inference.roi import assign_rois
from softseg.inference.scans import find_scans
from softseg.inference.segmenter import Segmenter
from softseg.runs.folder import Run
from softseg.runs.lock import exclusive
from softseg.training import train as experiment

PathLike = str | Path


def train(
    config: PathLike,
    *,
    changes: Sequence[str] = (),
    out: PathLike | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Train the experiment of a YAML; returns the run's folder.

    Args:
        config: the YAML file.
        changes: of its keys, as `--set` takes them, e.g. `["trainer.max_epochs=5"]`.
        out: the run's folder; None: `runs/<name>`.
        resume: go on after the last complete epoch of a run that is there.
        overwrite: delete a run that is there.
        quiet: print nothing.

    Raises TrainingError when training breaks down (a loss that is not finite).
    """
    if resume and overwrite:
        raise UserError("resume and overwrite exclude each other: choose one")
    wanted = load_experiment(Path(config), list(changes))
    folder = Path("runs") / wanted.name if out is None else Path(out)
    console = _console(quiet)
    with exclusive(Run(folder)):
        return experiment.train(wanted, folder, console, resume=resume, overwrite=overwrite).folder


def evaluate(
    run: PathLike,
    *,
    threshold_search: bool = False,
    threshold: float | None = None,
    split: str = "test",
    changes: Sequence[str] = (),
    quiet: bool = False,
) -> pd.DataFrame:
    """Score a trained run in native space; returns a row per subject and target.

    Args:
        run: the run's folder; metrics.csv, summary.json and predictions/ are written into it.
        threshold_search: first find each target's threshold on training and validation scans.
        threshold: in [0, 1], the threshold to use; None: what a search found, or 0.5.
        split: train, validation or test.
        changes: of the run's configuration, as `--set` takes them.
        quiet: print nothing.
    """
    scored = evaluation.evaluate(
        Run(Path(run)),
        _console(quiet),
        search=threshold_search,
        threshold=threshold,
        split=split,
        sets=changes,
    )
    return scored.table


def predict(
    model: PathLike,
    inputs: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    roi: PathLike | None = None,
    center: tuple[float, float, float] | None = None,
    threshold: float | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> list[Path]:
    """Segment scans on disk; returns the NIfTI files written below `out`.

    Args:
        model: a run's folder, or a package.
        inputs: files, folders, a BIDS data set, or `CONTRAST=FILE`; one alone needs no list.
        out: where the soft (float32) and binary (uint8) segmentations go, on their scans' grids.
        roi: an ROI mask or a folder of them, for a model that was trained around one.
        center: voxel (3,) in the middle of the box to look at, in the place of an ROI.
        threshold: in [0, 1], from which soft value on a voxel is foreground; None: the model's.
        device: auto, cpu, cuda, cuda:1 or mps.
        quiet: print nothing.

    Raises UserError, after all else is segmented, naming each scan that could not be.
    """
    evaluation.check_threshold(threshold)
    opened = open_model(Path(model), device)
    given = [inputs] if isinstance(inputs, str | Path) else inputs
    scans = find_scans([str(one) for one in given], opened.contrasts)
    middle = None if center is None else ",".join(map(str, center))
    assignment = assign_rois(opened, scans, None if roi is None else Path(roi), middle)
    options = Options(threshold=threshold, center=assignment.center)
    done = predict_scans(opened, assignment.scans, Path(out), _console(quiet), options)
    if problems := [*assignment.problems, *done.problems]:
        raise combined_error(f"{len(problems)} scan(s) could not be segmented:", problems)
    return done.written


def load_model(path: PathLike, device: str = "auto") -> Segmenter:
    """Open a run's folder or a package, for `load_model(path)(array, affine=affine)`."""
    return Segmenter(open_model(Path(path), device))


def _console(quiet: bool) -> Console:
    return Console(quiet=True) if quiet else open_console()
