"""The JSON of ivadomed's packaged models for a model of ours, and what it cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.preprocess import Crop, Resample, Slices, Standardize

Tree = dict[str, Any]
T = TypeVar("T")


def shown_transposed(slices: Slices) -> bool:
    """Whether ivadomed's slices are ours transposed: their height is inferior-superior, not width.

    Axial ones are right-left x posterior-anterior in both.
    """
    return slices.axis != "axial"


def config(experiment: Experiment) -> Tree:
    """`name.json`, as ivadomed 2.9's prediction reads it; keys of training hold its defaults.

    Raises UserError for a model that resamples one of a slice's two axes: ivadomed does both.
    """
    trainer = experiment.trainer
    return {
        "command": "segment",
        "gpu_ids": [0],
        "path_output": ".",
        "model_name": experiment.name,
        "debugging": False,
        "log_file": "log",
        "object_detection_params": {"object_detection_path": None, "safety_factor": [1.0] * 3},
        "loader_parameters": _loader(experiment),
        "split_dataset": {
            "fname_split": None,
            "random_seed": 6,
            "split_method": "participant_id",
            "data_testing": {"data_type": None, "data_value": []},
            "balance": None,
            "train_fraction": 0.6,
            "test_fraction": 0.2,
        },
        "training_parameters": _training(trainer.batch_size, trainer.max_epochs),
        "default_model": _model(experiment),
        "uncertainty": {"epistemic": False, "aleatoric": False, "n_it": 0},
        "postprocessing": {},
        "evaluation_parameters": {},
        "transformation": dict(_transformations(experiment)),
    }


def _loader(experiment: Experiment) -> Tree:
    contrasts = list(experiment.dataset.contrasts)
    return {
        "path_data": [],
        "subject_selection": {"n": [], "metadata": [], "value": []},
        "target_suffix": [f"_{target}" for target in experiment.dataset.targets],
        "extensions": [],
        "roi_params": {"suffix": "_roi" if _around_roi(experiment) else None,
                       "slice_filter_roi": None},
        "contrast_params": {"training_validation": contrasts, "testing": contrasts, "balance": {}},
        "slice_filter_params": {"filter_empty_mask": False, "filter_empty_input": False},
        "patch_filter_params": {"filter_empty_mask": False, "filter_empty_input": False},
        "slice_axis": experiment.slices.axis,
        "multichannel": len(contrasts) > 1,
        "soft_gt": True,
        "is_input_dropout": False,
    }  # fmt: skip


def _training(batch_size: int, epochs: int) -> Tree:
    schedule = {"name": "CosineAnnealingLR", "base_lr": 1e-5, "max_lr": 1e-2}
    return {
        "batch_size": batch_size,
        "loss": {"name": "DiceLoss"},
        "training_time": {
            "num_epochs": epochs,
            "early_stopping_patience": 50,
            "early_stopping_epsilon": 0.001,
        },
        "scheduler": {"initial_lr": 0.001, "lr_scheduler": schedule},
        "balance_samples": {"applied": False, "type": "gt"},
        "mixup_alpha": None,
        "transfer_learning": {"retrain_model": None, "retrain_fraction": 1.0, "reset": True},
    }


def _model(experiment: Experiment) -> Tree:
    model = experiment.model
    return {
        "name": "Unet",
        "dropout_rate": model.dropout,
        "bn_momentum": model.norm_momentum,
        "depth": model.depth,
        "n_filters": model.filters,
        "is_2d": True,
        "final_activation": "relu" if model.head.name == "normrelu" else "sigmoid",
    }


def _transformations(experiment: Experiment) -> Iterator[tuple[str, Tree]]:
    """What ivadomed does to each slice, in order."""
    slices, normalized = experiment.slices, False
    height, width = slices.in_plane[:: -1 if shown_transposed(slices) else 1]
    for step in experiment.preprocess:
        if isinstance(step, Standardize):
            normalized = True
        elif isinstance(step, Crop):
            size = list(step.size[:: -1 if shown_transposed(slices) else 1])
            yield ("ROICrop" if step.around == "roi" else "CenterCrop"), {"size": size}
        elif step.zooms[height] is not None and step.zooms[width] is not None:
            across = step.zooms[slices.axis_index] or 1.0
            yield "Resample", {"hspace": step.zooms[height], "wspace": step.zooms[width],
                               "dspace": across}  # fmt: skip
        elif step.zooms[height] is not None or step.zooms[width] is not None:
            raise UserError("ivadomed resamples both axes of a slice or none, this model one of "
                            "them: it cannot be exported")  # fmt: skip
    yield "NumpyToTensor", {}
    if normalized:
        yield "NormalizeInstance", {"applied_to": ["im"]}


def _around_roi(experiment: Experiment) -> bool:
    crop = _step(experiment, Crop)
    return crop is not None and crop.around == "roi"


def _step(experiment: Experiment, kind: type[T]) -> T | None:
    return next((step for step in experiment.preprocess if isinstance(step, kind)), None)


def not_preserved(experiment: Experiment, thresholds: Mapping[str, float] | None) -> Sequence[str]:
    """What ivadomed does otherwise than `softseg predict` with this model, a sentence each."""
    return [*_intensities(experiment), *_geometry(experiment), *_output(experiment, thresholds)]


def _intensities(experiment: Experiment) -> Iterator[str]:
    step = _step(experiment, Standardize)
    if step is not None and step.over == "volume":
        region = {"all": "", "nonzero": ", where it is not 0", "roi": ", in the ROI"}[step.region]
        yield f"each slice is normalized on its own, not the scan{region}: intensities differ"
    if _step(experiment, Crop) is not None:
        yield "slices are padded with 0 before they are normalized, not with the scan's background"


def _geometry(experiment: Experiment) -> Iterator[str]:
    resample, crop = _step(experiment, Resample), _step(experiment, Crop)
    if resample is not None:
        yield "resampling, there and back, keeps the corner voxels in place, not the field of view"
        if resample.zooms[experiment.slices.axis_index] is not None:
            yield "slices are not resampled across: their distance stays the scan's"
        if resample.image_order != 2:
            yield f"images are resampled with splines of order 2, not {resample.image_order}"
    if crop is not None and crop.around == "image":
        yield "only the crop in the middle of a larger scan is looked at; elsewhere it is 0"
    if crop is not None and crop.around == "roi":
        yield "each slice is cropped around its own ROI, or its middle where no ROI is given; " \
              "softseg crops a whole scan around one"  # fmt: skip


def _output(experiment: Experiment, thresholds: Mapping[str, float] | None) -> Iterator[str]:
    head = experiment.model.head
    if head.name == "normrelu" and head.scope != "running":
        yield "NormReLU divides by the maximum of a batch of training_parameters.batch_size " \
              f"({experiment.trainer.batch_size}) slices, not of the scan: with a batch_size of " \
              "at least the scan's slices it is the same"  # fmt: skip
    yield "predictions up to 0.01 become 0"
    if thresholds is not None:
        found = ", ".join(f"{target} {value:.2f}" for target, value in thresholds.items())
        yield f"thresholds ({found}) are not applied: give them as binarize_prediction"
    if experiment.evaluate.postprocess:
        yield "postprocessing is not carried over"
    yield "model card, license, scores and checksums stay in the package"
    yield "it predicts only (onnxruntime 1.14 or newer): there is no .pt to train on"
