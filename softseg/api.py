"""softseg from Python: what the commands do, as functions that return what they made.

Every function raises `softseg.errors.UserError`, with the message that the command would print, for
what the user can mend; nothing is half-written then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from rich.console import Console

from softseg import evaluation, experiment
from softseg.ablation.design import load_experiment
from softseg.apply.carry_out import Options, segment_all
from softseg.apply.inputs import find_scans
from softseg.apply.model import Model, open_model
from softseg.apply.roi import place
from softseg.apply.segment import segment
from softseg.cli_common import open_console
from softseg.data.grid import Grid
from softseg.data.load import Sample
from softseg.errors import UserError, several
from softseg.run import Run

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
    wanted = load_experiment(Path(config), list(changes))
    folder = Path("runs") / wanted.name if out is None else Path(out)
    console = _console(quiet)
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
    inputs: Sequence[PathLike],
    out: PathLike,
    *,
    roi: PathLike | None = None,
    centre: tuple[float, float, float] | None = None,
    threshold: float | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> list[Path]:
    """Segment scans on disk; returns the NIfTI files written below `out`.

    Args:
        model: a run's folder, or a package.
        inputs: files, folders, a BIDS data set, or `CONTRAST=FILE`.
        out: where the soft (float32) and binary (uint8) segmentations go, on their scans' grids.
        roi: an ROI mask or a folder of them, for a model that was trained around one.
        centre: voxel (3,) in the middle of the box to look at, in the place of an ROI.
        threshold: in [0, 1], from which soft value on a voxel is foreground; None: the model's.
        device: auto, cpu, cuda, cuda:1 or mps.
        quiet: print nothing.

    Raises UserError, after all else is segmented, naming each scan that could not be.
    """
    opened = open_model(Path(model), device)
    scans = find_scans([str(one) for one in inputs], opened.contrasts)
    middle = None if centre is None else ",".join(map(str, centre))
    places = place(opened, scans, None if roi is None else Path(roi), middle)
    options = Options(threshold=threshold, centre=places.centre)
    done = segment_all(opened, places.scans, Path(out), _console(quiet), options)
    if problems := [*places.problems, *done.problems]:
        raise several(f"{len(problems)} scan(s) could not be segmented:", problems)
    return done.written


@dataclass(frozen=True)
class Segmenter:
    """A trained model to call on arrays."""

    model: Model

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The input channels, in the order in which they are given."""
        return self.model.contrasts

    @property
    def targets(self) -> list[str]:
        """What is segmented, in the order of the result."""
        return self.model.targets

    @property
    def thresholds(self) -> dict[str, float] | None:
        """Target -> from which soft value on a voxel is foreground; None: none was searched for."""
        return self.model.thresholds

    def __call__(
        self,
        image: ArrayLike,
        zooms: Sequence[float],
        *,
        affine: ArrayLike | None = None,
        roi: ArrayLike | None = None,
        batch_size: int | None = None,
    ) -> NDArray[np.float32]:
        """The soft segmentation (K, X, Y, Z) of a scan, in [0, 1], one of each target.

        Args:
            image: (X, Y, Z), or (C, X, Y, Z) of several contrasts, in the scanner's units; the axes
                run to the right, front and top unless `affine` says otherwise.
            zooms: (3,) size of a voxel in mm.
            affine: (4, 4) voxel index -> world mm (RAS+), in the place of `zooms`.
            roi: (X, Y, Z) mask, for a model that was trained around one.
            batch_size: slices at once; None: as many as there is memory for.

        Raises UserError for another number of contrasts, and where an ROI is missing.
        """
        sample = self._sample(image, zooms, affine, roi)
        return segment(self.model, sample, batch_size=batch_size)

    def _sample(
        self,
        image: ArrayLike,
        zooms: Sequence[float],
        affine: ArrayLike | None,
        roi: ArrayLike | None,
    ) -> Sample:
        data = np.asarray(image, dtype=np.float32)
        data = data[None] if data.ndim == 3 else data
        if data.ndim != 4 or len(data) != len(self.contrasts):
            raise UserError(
                f"an image of shape {np.shape(image)} is given; the model takes (X, Y, Z) of each "
                f"of {', '.join(self.contrasts)}, several of them as (C, X, Y, Z)"
            )
        if not np.isfinite(data).all():
            raise UserError("the image holds NaN or infinity; replace them before")
        placed = np.diag([*zooms, 1.0]) if affine is None else np.asarray(affine, np.float64)
        grid = Grid((data.shape[1], data.shape[2], data.shape[3]), placed)
        mask = None if roi is None else np.asarray(roi, dtype=np.float32)
        return Sample(data, np.zeros((0, *grid.shape), np.float32), mask, (), grid, {})


def load_model(path: PathLike, device: str = "auto") -> Segmenter:
    """Open a run's folder or a package, to segment arrays: `load_model(path)(array, zooms)`."""
    return Segmenter(open_model(Path(path), device))


def _console(quiet: bool) -> Console:
    return Console(quiet=True) if quiet else open_console()
