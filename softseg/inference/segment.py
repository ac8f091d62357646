"""One scan segmented: native arrays in, soft segmentation on the same grid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from softseg.core import device
from softseg.core.types import Float32Array
from softseg.data.sample import Sample
from softseg.inference.model import Model
from softseg.inference.patches import sliding_window_logits
from softseg.inference.prepared_scan import PreparedScan, prepare_scan
from softseg.models.predictor import Predictor
from softseg.preprocess.standardize import standardize_slices

LogitsFunction = Callable[[Tensor], Tensor]
"""Slices or patches (S, C, H, W) -> their logits (S, K, H, W)."""
_LIVE_MAPS = 8
"""About how many of the first level's feature maps a U-Net in evaluation holds at once."""


def segment(
    model: Model,
    sample: Sample,
    center: Sequence[float] | None = None,
    training_crop: bool = False,
    batch_size: int | None = None,
) -> Float32Array:
    """Return the soft segmentation (K, X, Y, Z) of a scan, in [0, 1], on its own grid.

    Args:
        model: a trained model.
        sample: the scan; its target masks are ignored.
        center: index (3,) of the voxel in the middle of the box, instead of an ROI mask.
        training_crop: segment only the crop in the middle, as in training; 0 elsewhere.
        batch_size: slices at once; None: as many as fit into memory. It does not change the result
            (contract 5: to 1e-5).

    Raises UserError for a model that needs an ROI.
    """
    prepared = prepare_scan(model.experiment, sample, center, training_crop)
    predict = sized_predictor(model, prepared, batch_size)
    return prepared.to_native(predict.soft(volume_logits(predict.logits, prepared)))


def sized_predictor(model: Model, prepared: PreparedScan, batch_size: int | None) -> Predictor:
    """The model's predictor, by default with a batch that takes a quarter of the free memory."""
    if batch_size is None:
        height, width = prepared.patch_size or prepared.image.shape[2:]
        filters = max(model.experiment.model.filters, len(model.contrasts))
        one_slice = 4 * _LIVE_MAPS * filters * height * width
        free = device.free_bytes(model.predict.device) / 4
        batch_size = int(min(max(free // one_slice, 1), 64))
    return replace(model.predict, batch_size=batch_size)


def volume_logits(logits_of: LogitsFunction, prepared: PreparedScan) -> Tensor:
    """The logits (S, K, H, W) of a whole scan; large slices are blended from patches."""
    if prepared.standardize_slices:
        logits_of = after_standardization(logits_of)
    if prepared.patch_size is None:
        return logits_of(prepared.image)
    return sliding_window_logits(logits_of, prepared.image, prepared.patch_size)


def after_standardization(logits_of: LogitsFunction) -> LogitsFunction:
    """A function that standardizes each slice or patch on its own before `logits_of`."""

    def logits_of_standardized(image: Tensor) -> Tensor:
        no_fill = image.new_zeros(image.shape[:2])
        return logits_of(standardize_slices(image, no_fill)[0])

    return logits_of_standardized
