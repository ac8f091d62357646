"""Segment scans one after the other; a bad scan is reported at the end and stops no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from softseg.core.errors import UserError, combined_error
from softseg.core.files import (
    check_new_folder,
    os_error_message,
    read_json,
    remove_leftovers,
    shared_files,
    temporary_files,
)
from softseg.core.memory import is_out_of_memory
from softseg.core.names import listing
from softseg.core.types import BoolArray, Float32Array
from softseg.data import Subject
from softseg.data.masks import roi_mask
from softseg.data.nifti.checks import FileError
from softseg.data.nifti.grid import Grid, canonical, regrid, same_place
from softseg.data.nifti.io import file_stem, read_grid, read_volume
from softseg.data.sample import Sample, SubjectError, load_sample
from softseg.inference.label_map import (
    check_label_map,
    label_codes,
    label_map_file,
    write_label_map,
)
from softseg.inference.model import Model
from softseg.inference.overlay import write_overlay
from softseg.inference.scans import Scan
from softseg.inference.segment import (
    PreparedScan,
    crop_around,
    from_device_or_host,
    postprocessed,
    prepare_scan,
    segment,
    sized_predictor,
    volume_logits,
)
from softseg.inference.uncertainty.maps import (
    SampleMasks,
    Uncertainty,
    collect_samples,
    write_maps,
)
from softseg.inference.uncertainty.sampling import Sampling, check_varies, native_samples
from softseg.inference.uncertainty.structures import score_structures, write_scores
from softseg.inference.write import (
    describe_folder,
    overlay_file,
    prediction_file,
    warn_if_unlike_training,
    write_predictions,
)
from softseg.metrics.lesions import LesionRules
from softseg.preprocess.training_scans import differences_from_training
from softseg.runs.thresholds import threshold_notices

MAX_ZOOM_RATIO = 8.0
"""How many times smaller or larger than in training voxels may be. Headers in cm, m or µm, by
mistake, differ more."""


@dataclass(frozen=True)
class Options:
    """How scans are segmented."""

    threshold: float | None = None  # least soft value of foreground; None: the model's, or 0.5
    center: tuple[float, float, float] | None = None  # voxel in the middle of the box
    training_crop: bool = False  # segment only the crop in the middle, as in training
    batch_size: int | None = None  # slices or windows at once; None: as many as fit
    members: str = ""  # of an ensemble: which of the planned runs, for the sidecars
    overlay: bool = False  # also write a picture of each scan with its prediction
    labels: bool = False  # also write an integer label map of each scan


@dataclass(frozen=True)
class Result:
    """The outcome for all scans."""

    written: list[Path]  # NIfTI files, and pictures
    problems: list[str]  # scans that could not be segmented, and why


@dataclass(frozen=True, eq=False)
class Prediction:
    """The segmentation of one scan and, if there are samples, their summary and their masks."""

    soft: Float32Array  # (K, X, Y, Z), postprocessed
    masks: list[BoolArray]  # (X, Y, Z) of each target, postprocessed
    thresholds: Mapping[str, float]
    samples: tuple[Uncertainty, SampleMasks] | None = None


def predict_scans(
    models: Sequence[Model],
    scans: Sequence[Scan],
    out: Path,
    console: Console,
    options: Options = Options(),
    sampling: Sampling | None = None,
) -> Result:
    """Segment scans and write soft and binary predictions on their own grids, below `out`.

    Several models are an ensemble. For an ensemble, and for one model with `sampling`, the maps and
    scores of the uncertainty are written, too (Gros et al. 2020, section 4.4.4).

    Raises UserError for options that a model cannot use, and for a model with nothing to vary.
    """
    model = models[0]
    check_new_folder(out)
    check_crop(models, options)
    if sampling is not None:
        check_varies(sampling, model.predictor, model.experiment.augment, str(model.source))
    check_outputs(scans, model.targets, out)
    codes = _codes_of_labels(models[0], scans, out, console) if options.labels else None
    for folder in {out, *(out / scan.subfolder for scan in scans)}:
        remove_leftovers(temporary_files(folder, recursive=False))
    for member in models if options.threshold is None else ():
        mirror = member.experiment.evaluate.mirror
        for notice in threshold_notices(member.searched, member.targets, mirror):
            console.print(f"warning: {member.source}: {notice}", markup=False, highlight=False)
    metadata = sidecar_metadata(models, options, sampling)
    result = Result([], [])
    for scan, tracked in _tracked(scans, models, console):
        first = str(scan.first_image)
        try:
            sample = read_scan(scan, model)
            prediction = predict_sample(tracked, sample, options, sampling)
            differences = [
                differences_from_training(
                    model.training_scans, sample, model.contrasts, model.targets, prediction.soft
                )
                for model in models
            ]
            # an ensemble warns of what no member has seen in training
            unlike = differences[0] if all(differences) else []
            recorded = {**metadata, **warn_if_unlike_training(first, unlike, console)}
            result.written.extend(
                write_scan(model, scan, sample.grid, prediction, out, recorded, codes)
            )
            if options.overlay:
                result.written.append(_write_overlay(model, scan, sample, prediction, out))
        except MaskAsScanError as error:
            if scan.in_folder and len(scans) > 1:
                console.print(f"skipped: {error}", markup=False, highlight=False)
            else:
                result.problems.append(str(error))
        except UserError as error:
            message = str(error)
            result.problems.append(message if first in message else f"{first}: {message}")
        except OSError as error:
            error.filename = error.filename or first
            result.problems.append(os_error_message(error))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            result.problems.append(
                f"{first}: needs more memory than is free; lower --batch-size, or crop the scan"
            )
    if any(scan.name.startswith("sub-") for scan in scans) and result.written:  # BIDS
        describe_folder(out, model.experiment.name)
    return result


def _tracked(
    scans: Sequence[Scan], models: Sequence[Model], console: Console
) -> Iterator[tuple[Scan, list[Model]]]:
    """Yield each scan and the models, which advance a progress bar with each batch."""
    columns = (
        TextColumn("segmenting"),
        BarColumn(),
        TextColumn("scan {task.fields[number]} of {task.total}, {task.fields[samples]} passes"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(scans), number=1, samples=0)

        def count(samples: int) -> None:
            bar.update(task, samples=bar.tasks[0].fields["samples"] + samples)

        counting = [
            replace(model, predictor=replace(model.predictor, on_batch=count)) for model in models
        ]
        for number, scan in enumerate(scans, start=1):
            bar.update(task, number=number, samples=0)
            yield scan, counting
            bar.advance(task)


def _codes_of_labels(
    model: Model, scans: Sequence[Scan], out: Path, console: Console
) -> dict[str, int]:
    """Return the code of each target in the label maps, and print which targets are left out.

    Raises UserError for targets that overlap, and for a label map that softseg did not write.
    """
    for scan in scans:
        check_label_map(label_map_file(out / scan.subfolder, scan.named_after))
    codes, unions = label_codes(model.experiment.dataset.targets)
    if unions:
        left_out = (
            f"label map without {listing(unions)}: its voxels have the codes of other targets"
        )
        console.print(left_out, markup=False, highlight=False)
    return codes


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


def check_outputs(scans: Sequence[Scan], targets: Sequence[str], out: Path) -> None:
    """Raise UserError if two scans, or two frames of a scan, would have the same predictions."""
    writers, problems = [], []
    for scan in scans:
        for target in targets:
            file = prediction_file(out / scan.subfolder, scan.named_after, target, "probseg")
            writers.append((file, str(scan.first_image)))
            frame = _written_frame(file)
            if frame is not None and frame != (scan.frame or 0):
                problems.append(f"{file}: holds frame {frame}, not {scan.frame or 0}")
    if problems := [*shared_files(writers, out), *problems]:
        raise combined_error(
            "predictions of one scan would replace those of another; choose another --out for "
            "one of them:",
            problems,
        )


def _written_frame(file: Path) -> int | None:
    """Return the frame that a prediction on disk was made from; None if there is no prediction."""
    try:
        sidecar = read_json(file.with_name(f"{file_stem(file)}.json"))
        return int(sidecar.get("Frame", 0))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def sidecar_metadata(
    models: Sequence[Model], options: Options, sampling: Sampling | None
) -> dict[str, object]:
    """What the sidecars record of how a prediction was made."""
    model = models[0]
    metadata: dict[str, object] = {"Model": model.experiment.name}
    if len(models) == 1:
        metadata["ModelVersion"] = model.version
        metadata["Weights"] = model.predictor.weights_digest
    if options.center is not None:
        metadata["CropCenterVoxel"] = list(options.center)
    if options.training_crop:
        metadata["LookedAt"] = "the crop in the middle of the image; 0 elsewhere"
    if model.experiment.evaluate.mirror:
        metadata["Mirrored"] = True
    if steps := model.experiment.evaluate.steps:
        metadata["Postprocessing"] = steps
    if len(models) > 1:
        members = [f"{member.source}, {member.version}" for member in models]
        planned = {"Runs": options.members} if options.members else {}
        ensemble = {"Method": "ensemble", "Samples": len(models), "Members": members, **planned}
        metadata["Uncertainty"] = ensemble
    if sampling is not None:
        method: dict[str, object] = {"Method": sampling.method, "Samples": sampling.samples}
        method["Seed"] = sampling.seed
        if sampling.method == "tta":
            steps = model.experiment.model_dump(mode="json")["augment"]
            method["Moves"] = [
                step for step in steps if set(step) & {"affine", "flip", "RandomFlip"}
            ]
        metadata["Uncertainty"] = method
    return metadata


def read_scan(scan: Scan, model: Model) -> Sample:
    """Read the scan's images and its ROI mask, on the grid of the images.

    Raises UserError, in one message, for a missing contrast, for files that cannot be read or do
    not belong together, for a frame that none of them has, and for voxels of a size that no scan
    of the training set came near.
    """
    if scan.missing is not None:
        raise UserError(scan.missing)
    if scan.frame and all(_has_one_frame(path) for path in scan.images.values()):
        raise FileError(
            scan.first_image,
            f"has one frame, so there is no frame {scan.frame}",
            "leave out --frame",
        )
    subject = Subject(scan.name, dict(scan.images), {}, None, {})
    try:
        sample = load_sample(subject, model.experiment.dataset, labels=False, frame=scan.frame)
    except SubjectError as error:
        raise UserError("; ".join(error.problems)) from None
    _check_voxel_size(scan.first_image, sample.grid, model)
    for path, image in zip(scan.images.values(), sample.image, strict=True):
        low, high = image.min(), image.max()
        if low < high and ((image == low) | (image == high)).all():
            wrong = f"holds only the values {low:g} and {high:g}: it is a mask, not a scan"
            raise MaskAsScanError(path, wrong, "name the scan that belongs to it")
    if scan.roi is None:
        return sample
    mask = read_volume(scan.roi)
    roi = roi_mask(mask.data)
    if not same_place(mask.grid, sample.grid):
        roi = regrid(roi, mask.grid, sample.grid)
    return replace(sample, roi=roi)


def _has_one_frame(path: Path) -> bool:
    """Whether a file can be read and holds a single volume."""
    try:
        read_grid(path)
    except FileError:  # it has several frames, or `load_sample` will report what is wrong
        return False
    return True


class MaskAsScanError(FileError):
    """A file that was given as a scan is a binary mask."""


def _check_voxel_size(path: Path, grid: Grid, model: Model) -> None:
    """Raise FileError for voxels far from the training sizes, if the model records them."""
    training = model.training_scans
    if training is None:
        return
    zooms = canonical(grid).zooms.tolist()
    sizes = list(zip(zooms, training.zooms_mm, strict=True))
    if any(
        zoom < trained.smallest / MAX_ZOOM_RATIO or zoom > trained.largest * MAX_ZOOM_RATIO
        for zoom, trained in sizes
    ):
        size = " x ".join(f"{zoom:.3g}" for zoom in zooms)
        ranges = " x ".join(map(str, training.zooms_mm))
        raise FileError(
            path,
            f"has voxels of {size} mm, the model was trained on {ranges} mm",
            "fix the sizes in its header (are they in another unit?)",
        )


def predict_sample(
    models: Sequence[Model], sample: Sample, options: Options, sampling: Sampling | None
) -> Prediction:
    """Segment one scan by one model, by one model with samples, or by an ensemble.

    With `sampling`, the segmentation is still that of the deterministic pass. That of an ensemble
    is the mean of its members, each with its own preprocessing, scale and threshold; its mask is
    where the mean reaches the mean of their thresholds.
    """
    model, thresholds = models[0], [model.used_thresholds(options.threshold) for model in models]
    region = options.center, options.training_crop
    if sampling is not None:
        whole = prepare_scan(model.experiment, sample, *region)
        predictor = sized_predictor(model, whole, options.batch_size)

        def predict(prepared: PreparedScan) -> Prediction:
            logits = volume_logits(predictor.logits, prepared, predictor.batch_size)
            augment, targets = model.experiment.augment, model.targets
            softs = native_samples(sampling, predictor, augment, targets, prepared, logits)
            samples = (
                (soft, postprocessed(model, soft, thresholds[0], sample.grid)[1]) for soft in softs
            )
            soft = prepared.to_native(predictor.soft(logits))
            final = postprocessed(model, soft, thresholds[0], sample.grid)
            return Prediction(*final, thresholds[0], collect_samples(samples))

        return from_device_or_host(predict, whole, predictor.device)
    if len(models) == 1:
        soft = segment(model, sample, *region, options.batch_size)
        return Prediction(*postprocessed(model, soft, thresholds[0], sample.grid), thresholds[0])

    def members() -> Iterator[tuple[Float32Array, list[BoolArray]]]:
        for member, own in zip(models, thresholds, strict=True):
            soft = segment(member, sample, *region, options.batch_size)
            yield soft, postprocessed(member, soft, own, sample.grid)[1]

    uncertainty, masks = collect_samples(members())
    mean = {target: float(np.mean([own[target] for own in thresholds])) for target in model.targets}
    final = postprocessed(model, uncertainty.mean, mean, sample.grid)
    return Prediction(*final, mean, (uncertainty, masks))


def _write_overlay(
    model: Model, scan: Scan, sample: Sample, prediction: Prediction, out: Path
) -> Path:
    """Write the picture of a scan with its prediction; return its path."""
    path = overlay_file(out / scan.subfolder, scan.named_after)
    write_overlay(
        path,
        f"{scan.first_image.name}, segmented by {model.experiment.name}",
        sample,
        prediction.soft,
        prediction.masks,
        model.targets,
        model.experiment.slices.axis_index,
    )
    return path


def write_scan(
    model: Model,
    scan: Scan,
    grid: Grid,
    prediction: Prediction,
    out: Path,
    metadata: Mapping[str, object],
    codes: Mapping[str, int] | None = None,
) -> list[Path]:
    """Write the segmentation of a scan, and maps and scores of its samples; return the NIfTIs.

    With `codes` (target -> code), a label map is written, too.
    """
    soft, masks, thresholds = prediction.soft, prediction.masks, prediction.thresholds
    sources: dict[str, object] = {"Sources": [str(path) for path in scan.images.values()]}
    if scan.roi is not None:
        sources["ROI"] = str(scan.roi)
    if scan.frame is not None:
        sources["Frame"] = scan.frame
    folder, source, named = out / scan.subfolder, scan.first_image, scan.named_after
    recorded = {**metadata, **sources}
    written = write_predictions(folder, source, soft, masks, thresholds, recorded, named)
    if codes:
        written.append(
            write_label_map(folder, source, soft, masks, thresholds, codes, recorded, named)
        )
    if prediction.samples is None:
        return written
    uncertainty, sample_masks = prediction.samples
    written += write_maps(folder, source, model.targets, uncertainty, metadata, named)
    rules = model.experiment.evaluate.lesions or LesionRules()
    method = metadata["Uncertainty"]
    assert isinstance(method, dict)
    rows = [
        {
            "scan": str(scan.subfolder / scan.name),
            "target": target,
            **row,
            "method": method["Method"],
            "samples": method["Samples"],
        }
        for k, target in enumerate(model.targets)
        for row in score_structures(masks[k], sample_masks, k, uncertainty.entropy[k], grid, rules)
    ]
    write_scores(out / "uncertainty.csv", rows)
    return written
