"""Scans segmented one after the other; a bad one is told at the end and stops nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from softseg.apply.inputs import Scan
from softseg.apply.model import Model
from softseg.apply.reading import read_scan
from softseg.apply.segment import segment
from softseg.data.grid import Grid
from softseg.errors import UserError
from softseg.infer.write import describe_folder, write_predictions
from softseg.metrics import binarize
from softseg.metrics.postprocess import postprocess
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.orient import canonical


@dataclass(frozen=True)
class Options:
    """How scans are segmented."""

    threshold: float | None = None  # from which soft value on; None: what a search found, or 0.5
    centre: tuple[float, float, float] | None = None  # voxel in the middle of the box looked at
    only_crop: bool = False  # look only where training looked, at the crop in the middle
    batch_size: int | None = None  # slices at once; None: as many as there is memory for


@dataclass(frozen=True)
class Done:
    """What became of the scans."""

    written: list[Path]  # NIfTI files
    problems: list[str]  # scans that could not be segmented, and why


def segment_all(
    model: Model, scans: Sequence[Scan], out: Path, console: Console, options: Options = Options()
) -> Done:
    """Segment scans and write soft and binary predictions on their own grids, below `out`."""
    if model.thresholds is None and options.threshold is None:
        console.print(f"{model.source}: no threshold was searched for: using 0.5", markup=False)
    done = Done([], [])
    shown = track(scans, "segmenting", console=console, disable=not console.is_terminal)
    for scan in shown:
        try:
            done.written.extend(_one(model, scan, out, options))
        except UserError as error:
            done.problems.append(_naming(scan, str(error)))
        except OSError as error:
            done.problems.append(f"{error.filename or scan.name}: {error.strerror or error}")
    if any(scan.name.startswith("sub-") for scan in scans) and done.written:
        describe_folder(out, model.experiment.name)
    return done


def _naming(scan: Scan, message: str) -> str:
    """The message with the file it is about, where it names none."""
    first = str(next(iter(scan.images.values())))
    return message if first in message else f"{first}: {message}"


def _one(model: Model, scan: Scan, out: Path, options: Options) -> list[Path]:
    sample = read_scan(scan, model)
    soft = segment(model, sample, options.centre, options.only_crop, options.batch_size)
    thresholds = thresholds_of(model, options.threshold)
    masks = [
        mask_of(model, one, threshold, sample.grid)
        for one, threshold in zip(soft, thresholds.values(), strict=True)
    ]
    sources = list(scan.images.values())
    facts = {**facts_of(model, options), "Sources": [str(path) for path in sources]}
    if scan.roi is not None:
        facts["ROI"] = str(scan.roi)
    return write_predictions(out / scan.place, sources[0], soft, masks, thresholds, facts)


def thresholds_of(model: Model, given: float | None) -> dict[str, float]:
    """Target -> from which soft value on a voxel is foreground."""
    if given is None and model.thresholds is not None:
        return {target: model.thresholds[target] for target in model.targets}
    return dict.fromkeys(model.targets, 0.5 if given is None else given)


def mask_of(
    model: Model, soft: NDArray[np.float32], threshold: float, grid: Grid
) -> NDArray[np.bool_]:
    """The binary segmentation (X, Y, Z) of one target, postprocessed as in the evaluation."""
    axis = Geometry(grid, canonical(grid)).native_axis(model.experiment.slices.number)
    steps = model.experiment.evaluate.postprocess
    return postprocess(binarize(soft, threshold), steps, 1000 * grid.voxel_ml, axis)


def facts_of(model: Model, options: Options) -> dict[str, object]:
    """What the sidecars say of how a prediction was made."""
    facts: dict[str, object] = {"Model": model.experiment.name, "ModelVersion": model.version}
    if options.centre is not None:
        facts["CropCentreVoxel"] = list(options.centre)
    if options.only_crop:
        facts["LookedAt"] = "the crop in the middle of the image; 0 elsewhere"
    if steps := model.experiment.evaluate.model_dump(mode="json")["postprocess"]:
        facts["Postprocessing"] = steps
    return facts
