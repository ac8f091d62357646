"""Scans segmented one after the other; a bad one is told at the end and stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from softseg.core.device import out_of_memory
from softseg.core.errors import UserError
from softseg.core.types import BoolArray, Float32Array
from softseg.data.nifti.grid import Grid, canonical
from softseg.inference.model import Model
from softseg.inference.prepared_scan import crop_around
from softseg.inference.read_scan import read_scan
from softseg.inference.scans import Scan
from softseg.inference.segment import segment
from softseg.inference.write import describe_folder, write_predictions
from softseg.metrics import binarize
from softseg.metrics.postprocess import postprocess
from softseg.preprocess.geometry import Geometry


@dataclass(frozen=True)
class Options:
    """How scans are segmented."""

    threshold: float | None = None  # from which soft value on; None: what a search found, or 0.5
    center: tuple[float, float, float] | None = None  # voxel in the middle of the box looked at
    training_crop: bool = False  # look only where training looked, at the crop in the middle
    batch_size: int | None = None  # slices at once; None: as many as there is memory for


@dataclass(frozen=True)
class Done:
    """What became of the scans."""

    written: list[Path]  # NIfTI files
    problems: list[str]  # scans that could not be segmented, and why


def segment_all(
    model: Model, scans: Sequence[Scan], out: Path, console: Console, options: Options = Options()
) -> Done:
    """Segment scans and write soft and binary predictions on their own grids, below `out`.

    Raises UserError for options that the model has no use for.
    """
    check_crop([model], options)
    tell_thresholds([model], options, console)

    def one(scan: Scan) -> list[Path]:
        return _one(model, scan, out, options)

    return each(scans, one, out, model.experiment.name, console)


def check_crop(models: Sequence[Model], options: Options) -> None:
    """Refuse to look only at the crop in the middle where training had none."""
    for model in models:
        around = crop_around(model.experiment)
        if options.training_crop and around != "image":
            trained = "whole images" if around is None else "boxes around an ROI"
            raise UserError(
                f"{model.source} was trained on {trained}, not on the crop in the middle of an "
                "image: leave out --training-crop"
            )


def tell_thresholds(models: Sequence[Model], options: Options, console: Console) -> None:
    """Say of which models the threshold is a guess."""
    for model in models:
        if model.thresholds is None and options.threshold is None:
            console.print(f"{model.source}: no threshold was searched for: using 0.5", markup=False)


def each(
    scans: Sequence[Scan],
    one: Callable[[Scan], list[Path]],
    out: Path,
    name: str,
    console: Console,
) -> Done:
    """Do the scans one after the other, and describe the folder where they are BIDS.

    Args:
        scans: what to segment.
        one: segments a scan and returns the NIfTI files written; raises UserError or OSError.
        out: the folder of all predictions.
        name: of the model.
        console: where progress is shown.
    """
    done = Done([], [])
    shown = track(scans, "segmenting", console=console, disable=not console.is_terminal)
    for scan in shown:
        try:
            done.written.extend(one(scan))
        except UserError as error:
            done.problems.append(_naming(scan, str(error)))
        except OSError as error:
            done.problems.append(f"{error.filename or scan.name}: {error.strerror or error}")
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            told = "it needs more memory than there is: lower --batch-size, or crop it"
            done.problems.append(_naming(scan, told))
    if any(scan.name.startswith("sub-") for scan in scans) and done.written:
        describe_folder(out, name)
    return done


def _naming(scan: Scan, message: str) -> str:
    """The message with the file it is about, where it names none."""
    first = str(next(iter(scan.images.values())))
    return message if first in message else f"{first}: {message}"


def _one(model: Model, scan: Scan, out: Path, options: Options) -> list[Path]:
    sample = read_scan(scan, model)
    soft = segment(model, sample, options.center, options.training_crop, options.batch_size)
    return write(model, scan, sample.grid, soft, thresholds_of(model, options.threshold), out,
                 facts_of(model, options))  # fmt: skip


def write(
    model: Model,
    scan: Scan,
    grid: Grid,
    soft: Float32Array,
    thresholds: Mapping[str, float],
    out: Path,
    facts: Mapping[str, object],
) -> list[Path]:
    """Write a scan's soft predictions (K, X, Y, Z) and their masks; returns the NIfTI files."""
    masks = masks_of(model, soft, thresholds, grid)
    sources = list(scan.images.values())
    told = {**facts, "Sources": [str(path) for path in sources]}
    if scan.roi is not None:
        told["ROI"] = str(scan.roi)
    if scan.frame is not None:
        told["Frame"] = scan.frame
    return write_predictions(out / scan.place, sources[0], soft, masks, thresholds, told)


def thresholds_of(model: Model, given: float | None) -> dict[str, float]:
    """Target -> from which soft value on a voxel is foreground."""
    if given is None and model.thresholds is not None:
        return {target: model.thresholds[target] for target in model.targets}
    return dict.fromkeys(model.targets, 0.5 if given is None else given)


def masks_of(
    model: Model, soft: Float32Array, thresholds: Mapping[str, float], grid: Grid
) -> list[BoolArray]:
    """The binary segmentations (X, Y, Z) of soft ones (K, X, Y, Z), postprocessed as in training's
    evaluation.
    """
    axis = Geometry(grid, canonical(grid)).native_axis(model.experiment.slices.axis_index)
    steps, voxel_mm3 = model.experiment.evaluate.postprocess, 1000 * grid.voxel_ml
    return [
        postprocess(binarize(one, threshold), steps, voxel_mm3, axis)
        for one, threshold in zip(soft, thresholds.values(), strict=True)
    ]


def facts_of(model: Model, options: Options) -> dict[str, object]:
    """What the sidecars say of how a prediction was made."""
    facts: dict[str, object] = {"Model": model.experiment.name, "ModelVersion": model.version}
    if options.center is not None:
        facts["CropCenterVoxel"] = list(options.center)
    if options.training_crop:
        facts["LookedAt"] = "the crop in the middle of the image; 0 elsewhere"
    if steps := model.experiment.evaluate.steps:
        facts["Postprocessing"] = steps
    return facts
