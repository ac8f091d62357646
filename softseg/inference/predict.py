"""Segment scans one after the other; a bad scan is reported at the end and stops no other."""

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

    threshold: float | None = None  # least soft value of foreground; None: the model's, or 0.5
    center: tuple[float, float, float] | None = None  # voxel in the middle of the box
    training_crop: bool = False  # segment only the crop in the middle, as in training
    batch_size: int | None = None  # slices at once; None: as many as fit into memory


@dataclass(frozen=True)
class Result:
    """The outcome for all scans."""

    written: list[Path]  # NIfTI files
    problems: list[str]  # scans that could not be segmented, and why


def predict_scans(
    model: Model, scans: Sequence[Scan], out: Path, console: Console, options: Options = Options()
) -> Result:
    """Segment scans and write soft and binary predictions on their own grids, below `out`.

    Raises UserError for options that the model cannot use.
    """
    check_crop([model], options)
    report_default_threshold([model], options, console)
    thresholds = thresholds_of(model, options.threshold)
    metadata = sidecar_metadata(model, options)

    def predict_scan(scan: Scan) -> list[Path]:
        sample = read_scan(scan, model)
        soft = segment(model, sample, options.center, options.training_crop, options.batch_size)
        return write_scan(model, scan, sample.grid, soft, thresholds, out, metadata)

    return for_each_scan(scans, predict_scan, out, model.experiment.name, console)


def check_crop(models: Sequence[Model], options: Options) -> None:
    """Raise UserError for --training-crop if training did not crop the middle of the image."""
    for model in models:
        around = crop_around(model.experiment)
        if options.training_crop and around != "image":
            trained = "whole images" if around is None else "boxes around an ROI"
            raise UserError(
                f"{model.source} was trained on {trained}, not on the crop in the middle of an "
                "image: leave out --training-crop"
            )


def report_default_threshold(models: Sequence[Model], options: Options, console: Console) -> None:
    """Print which models use 0.5 because no threshold was searched for."""
    for model in models:
        if model.thresholds is None and options.threshold is None:
            console.print(f"{model.source}: no threshold was searched for: using 0.5", markup=False)


def for_each_scan(
    scans: Sequence[Scan],
    predict_scan: Callable[[Scan], list[Path]],
    out: Path,
    name: str,
    console: Console,
) -> Result:
    """Predict the scans one after the other, and describe the folder `out` if they are BIDS.

    `predict_scan` writes the predictions of a scan and returns the NIfTI files; it may raise
    UserError or OSError, or run out of memory. `name` is that of the model.
    """
    result = Result([], [])
    for scan in track(scans, "segmenting", console=console, disable=not console.is_terminal):
        first = str(scan.first_image)
        try:
            result.written.extend(predict_scan(scan))
        except UserError as error:
            message = str(error)
            result.problems.append(message if first in message else f"{first}: {message}")
        except OSError as error:
            result.problems.append(f"{error.filename or scan.name}: {error.strerror or error}")
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            result.problems.append(
                f"{first}: needs more memory than is free; lower --batch-size, or crop it"
            )
    if any(scan.name.startswith("sub-") for scan in scans) and result.written:
        describe_folder(out, name)
    return result


def write_scan(
    model: Model,
    scan: Scan,
    grid: Grid,
    soft: Float32Array,
    thresholds: Mapping[str, float],
    out: Path,
    metadata: Mapping[str, object],
) -> list[Path]:
    """Write a scan's soft predictions (K, X, Y, Z) and their masks; return the NIfTI files."""
    masks = masks_of(model, soft, thresholds, grid)
    metadata = {**metadata, "Sources": [str(path) for path in scan.images.values()]}
    if scan.roi is not None:
        metadata["ROI"] = str(scan.roi)
    if scan.frame is not None:
        metadata["Frame"] = scan.frame
    folder = out / scan.subfolder
    return write_predictions(folder, scan.first_image, soft, masks, thresholds, metadata)


def thresholds_of(model: Model, threshold: float | None) -> dict[str, float]:
    """Target -> least soft value of foreground: `threshold`, else the model's, else 0.5."""
    if threshold is None and model.thresholds is not None:
        return {target: model.thresholds[target] for target in model.targets}
    return dict.fromkeys(model.targets, 0.5 if threshold is None else threshold)


def masks_of(
    model: Model, soft: Float32Array, thresholds: Mapping[str, float], grid: Grid
) -> list[BoolArray]:
    """The binary segmentations (X, Y, Z) of soft ones (K, X, Y, Z), postprocessed as in `eval`."""
    axis = Geometry(grid, canonical(grid)).native_axis(model.experiment.slices.axis_index)
    steps, voxel_mm3 = model.experiment.evaluate.postprocess, 1000 * grid.voxel_ml
    return [
        postprocess(binarize(values, threshold), steps, voxel_mm3, axis)
        for values, threshold in zip(soft, thresholds.values(), strict=True)
    ]


def sidecar_metadata(model: Model, options: Options) -> dict[str, object]:
    """What the sidecars record of how a prediction was made."""
    metadata: dict[str, object] = {"Model": model.experiment.name, "ModelVersion": model.version}
    if options.center is not None:
        metadata["CropCenterVoxel"] = list(options.center)
    if options.training_crop:
        metadata["LookedAt"] = "the crop in the middle of the image; 0 elsewhere"
    if steps := model.experiment.evaluate.steps:
        metadata["Postprocessing"] = steps
    return metadata
