"""Export a model in the layout of ivadomed's packaged models: `name/name.onnx`, `name/name.json`.

ivadomed gives the graph a batch of its own slices and takes the output as the prediction. So the
graph contains the head, and a transposition where ivadomed's slices have another orientation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from torch import Tensor, nn

from softseg import models
from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.core.files import check_new_folder, write_atomically
from softseg.inference.model import open_model
from softseg.package.onnx import check_installed, network_with_weights, to_onnx
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Crop, Resample, Standardize

JsonObject = dict[str, Any]
T = TypeVar("T")


class NetworkWithHead(nn.Module):
    """Slices (B, C, H, W) -> prediction (B, K, H, W) in [0, 1].

    `transposed`: slices are (B, C, W, H), predictions (B, K, W, H).
    """

    def __init__(self, network: nn.Module, head: nn.Module, transposed: bool) -> None:
        super().__init__()
        self.network, self.head, self.transposed = network, head, transposed

    def forward(self, slices: Tensor) -> Tensor:
        """Return the prediction of a batch; a NormReLU's maximum is the batch's."""
        soft: Tensor = self.head(self.network(slices.mT if self.transposed else slices))
        return soft.mT if self.transposed else soft


def to_ivadomed(source: Path, out: Path, overwrite: bool = False) -> tuple[Path, list[str]]:
    """Write `out`/name/name.onnx and name.json for a package or a run; `out` must exist.

    Returns the folder, and sentences on what ivadomed does differently with the model. Raises
    UserError without the extra `onnx`, if the folder `out`/name exists (unless `overwrite`), and
    for a model with preprocessing that ivadomed cannot do.
    """
    check_installed()
    model = open_model(source, "cpu")
    experiment, predictor = model.experiment, model.predictor
    check_new_folder(out)
    if not out.is_dir():
        raise UserError(f"there is no folder {out}; create it first")
    folder = out / experiment.name
    if folder.exists() and not (overwrite and folder.is_dir()):
        raise UserError(f"{folder} exists already; add --overwrite, or choose another folder")
    config = json.dumps(ivadomed_config(experiment), indent=4) + "\n"
    network = network_with_weights(experiment, predictor.model.state_dict())
    head = models.heads.build(experiment.model.head, len(experiment.dataset.targets))
    head.load_state_dict(predictor.head.state_dict())
    with_head = NetworkWithHead(network, head, has_transposed_slices(experiment.slices)).eval()
    graph = to_onnx(with_head, experiment, output="output")
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{experiment.name}.onnx", graph)
    write_atomically(folder / f"{experiment.name}.json", config)
    return folder, differences(experiment, model.thresholds)


def show(folder: Path, sentences: Sequence[str], console: Console) -> None:
    """Print where the model was written, and what is not preserved."""
    heading = f"{folder}: written for ivadomed's segment_volume. Its results differ from softseg's:"
    for line in [heading, *(f"  - {line}" for line in sentences)]:
        console.print(line, markup=False, highlight=False)


def has_transposed_slices(slices: Slices) -> bool:
    """Return whether ivadomed's slices are ours transposed: their height is inferior-superior.

    Axial slices are right-left x posterior-anterior in both.
    """
    return slices.axis != "axial"


def ivadomed_config(experiment: Experiment) -> JsonObject:
    """Return `name.json` as ivadomed 2.9's prediction reads it; keys of training have its defaults.

    Raises UserError for a 3D network, for one that sees neighboring slices, and for a model that
    resamples one of a slice's two axes.
    """
    if experiment.axes == 3:
        raise UserError(
            "this model cannot be exported: it is a 3D network, and softseg writes only 2D ones in "
            "ivadomed's layout; use softseg package --onnx"
        )
    if experiment.slices.neighbors:
        raise UserError(
            "this model cannot be exported: its network sees the slices next to each one "
            f"(slices.neighbors: {experiment.slices.neighbors}), and ivadomed passes single "
            "slices; use softseg package --onnx"
        )
    trainer, model = experiment.trainer, experiment.model
    return {
        "command": "segment",
        "gpu_ids": [0],
        "path_output": ".",
        "model_name": experiment.name,
        "debugging": False,
        "log_file": "log",
        "object_detection_params": {"object_detection_path": None, "safety_factor": [1.0] * 3},
        "loader_parameters": _loader_parameters(experiment),
        "split_dataset": {
            "fname_split": None,
            "random_seed": 6,
            "split_method": "participant_id",
            "data_testing": {"data_type": None, "data_value": []},
            "balance": None,
            "train_fraction": 0.6,
            "test_fraction": 0.2,
        },
        "training_parameters": {
            "batch_size": trainer.batch_size,
            "loss": {"name": "DiceLoss"},
            "training_time": {
                "num_epochs": trainer.max_epochs,
                "early_stopping_patience": 50,
                "early_stopping_epsilon": 0.001,
            },
            "scheduler": {
                "initial_lr": 0.001,
                "lr_scheduler": {"name": "CosineAnnealingLR", "base_lr": 1e-5, "max_lr": 1e-2},
            },
            "balance_samples": {"applied": False, "type": "gt"},
            "mixup_alpha": None,
            "transfer_learning": {"retrain_model": None, "retrain_fraction": 1.0, "reset": True},
        },
        "default_model": {
            "name": "Unet",
            "dropout_rate": model.dropout,
            "bn_momentum": model.norm_momentum,
            "depth": model.depth,
            "n_filters": model.filters,
            "is_2d": True,
            "final_activation": "relu" if model.head.name == "normrelu" else "sigmoid",
        },
        "uncertainty": {"epistemic": False, "aleatoric": False, "n_it": 0},
        "postprocessing": {},
        "evaluation_parameters": {},
        "transformation": dict(_transformations(experiment)),
    }


def _loader_parameters(experiment: Experiment) -> JsonObject:
    """Return the section that names contrasts, targets, the ROI and the axis of the slices."""
    contrasts = list(experiment.dataset.contrasts)
    crop = _step(experiment, Crop)
    around_roi = crop is not None and crop.around == "roi"
    return {
        "path_data": [],
        "subject_selection": {"n": [], "metadata": [], "value": []},
        "target_suffix": [f"_{target}" for target in experiment.dataset.targets],
        "extensions": [],
        "roi_params": {"suffix": "_roi" if around_roi else None, "slice_filter_roi": None},
        "contrast_params": {"training_validation": contrasts, "testing": contrasts, "balance": {}},
        "slice_filter_params": {"filter_empty_mask": False, "filter_empty_input": False},
        "patch_filter_params": {"filter_empty_mask": False, "filter_empty_input": False},
        "slice_axis": experiment.slices.axis,
        "multichannel": len(contrasts) > 1,
        "soft_gt": True,
        "is_input_dropout": False,
    }


def _transformations(experiment: Experiment) -> Iterator[tuple[str, JsonObject]]:
    """Yield the steps that ivadomed applies to each slice, in order."""
    slices, normalized = experiment.slices, False
    height, width = slices.in_plane[:: -1 if has_transposed_slices(slices) else 1]
    for step in experiment.preprocess:
        if isinstance(step, Standardize):
            normalized = True
        elif isinstance(step, Crop):
            if len(step.size) == 3:
                raise UserError("this model cannot be exported: it crops across the slices, "
                                "ivadomed only in plane")  # fmt: skip
            size = list(step.size[:: -1 if has_transposed_slices(slices) else 1])
            yield ("ROICrop" if step.around == "roi" else "CenterCrop"), {"size": size}
        elif step.zooms[height] is not None and step.zooms[width] is not None:
            across = step.zooms[slices.axis_index] or 1.0
            yield "Resample", {"hspace": step.zooms[height], "wspace": step.zooms[width],
                               "dspace": across}  # fmt: skip
        elif step.zooms[height] is not None or step.zooms[width] is not None:
            raise UserError("this model cannot be exported: it resamples one axis of a slice, "
                            "ivadomed both or none")  # fmt: skip
    yield "NumpyToTensor", {}
    if normalized:
        yield "NormalizeInstance", {"applied_to": ["im"]}


def differences(experiment: Experiment, thresholds: Mapping[str, float] | None) -> list[str]:
    """Return what ivadomed does differently than `softseg predict` with this model, by sentence."""
    sentences = list(_preprocessing_differences(experiment))
    head = experiment.model.head
    if head.name == "normrelu" and head.scope in ("batch", "sample"):
        sentences.append(
            "NormReLU divides by the maximum of a batch of training_parameters.batch_size "
            f"({experiment.trainer.batch_size}) slices, not of the scan: the results are the same "
            "with a batch_size of at least the scan's number of slices"
        )
    sentences.append("predicted values up to 0.01 become 0")
    if thresholds:
        values = ", ".join(f"{target} {value:.2f}" for target, value in thresholds.items())
        sentences.append(f"thresholds ({values}) are not applied: pass them as binarize_prediction")
    if experiment.evaluate.mirror:
        sentences.append("mirror images are not averaged (evaluate.mirror)")
    if experiment.evaluate.postprocess:
        sentences.append("postprocessing is not carried over")
    return [
        *sentences,
        "model card, license, scores and checksums are not exported",
        "the model predicts (onnxruntime 1.14 or newer) but cannot be trained further",
    ]


def _preprocessing_differences(experiment: Experiment) -> Iterator[str]:
    """Yield how intensities and the geometry of slices differ."""
    standardize = _step(experiment, Standardize)
    resample, crop = _step(experiment, Resample), _step(experiment, Crop)
    if standardize is not None and standardize.over == "volume":
        region = {"all": "", "nonzero": ", where it is not 0", "roi": ", in the ROI"}
        scan = f"the scan{region[standardize.region]}"
        yield f"each slice is normalized on its own, not {scan}: intensities differ"
    if standardize is not None and standardize.joint and len(experiment.dataset.contrasts) > 1:
        yield "each contrast is normalized on its own, not all together: intensities differ"
    if crop is not None:
        yield "slices are padded with 0 before they are normalized, not with the scan's background"
    if resample is not None:
        yield "resampling and its inverse keep the corner voxels in place, not the field of view"
        if resample.zooms[experiment.slices.axis_index] is not None:
            yield "the distance between slices is not resampled: it stays that of the scan"
        if resample.image_order != 2:
            yield f"images are resampled with splines of order 2, not {resample.image_order}"
    if crop is not None and crop.around == "image":
        yield "of a larger scan only the crop in the middle is segmented; the rest is 0"
    if crop is not None and crop.around == "roi":
        yield (
            "each slice is cropped around its own ROI, or its middle without an ROI; softseg crops "
            "a whole scan around one ROI"
        )


def _step(experiment: Experiment, kind: type[T]) -> T | None:
    return next((step for step in experiment.preprocess if isinstance(step, kind)), None)
