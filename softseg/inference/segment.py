"""A scan segmented: native arrays in, soft segmentation on the same grid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from softseg.core import device
from softseg.core.types import Float32Array
from softseg.data.sample import Sample
from softseg.inference.model import Model
from softseg.inference.patches import blended
from softseg.inference.prepared_scan import View, view_of
from softseg.models.predictor import Predictor
from softseg.preprocess.standardize import standardize_slices

_LIVE = 8
"""How many of the first level's feature maps a U-Net in evaluation holds at once, about."""


def segment(
    model: Model,
    sample: Sample,
    center: Sequence[float] | None = None,
    training_crop: bool = False,
    batch_size: int | None = None,
) -> Float32Array:
    """The soft segmentation (K, X, Y, Z) of a scan, in [0, 1], on its own grid.

    Args:
        model: a trained model.
        sample: the scan (its masks are not looked at).
        center: of the box to look at, an index of its voxels (3,), in the place of an ROI's.
        training_crop: look only at the crop in the middle, as training did; 0 elsewhere.
        batch_size: slices at once; null: as many as there is memory for. It changes no result
            (contract 5: to 1e-5).

    Raises UserError for a model that needs an ROI.
    """
    view = view_of(model.experiment, sample, center, training_crop)
    predict = sized(model, view, batch_size)
    return view.to_native(predict.soft(volume_logits(predict.logits, view)))


def volume_logits(logits_of: Callable[[Tensor], Tensor], view: View) -> Tensor:
    """The network's logits (S, K, H, W) of a whole scan, of blended patches where it is large."""
    each = _by_slice(logits_of) if view.by_slice else logits_of
    return each(view.image) if view.patch is None else blended(each, view.image, view.patch)


def _by_slice(logits_of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def standardized(patches: Tensor) -> Tensor:
        nothing = patches.new_zeros(patches.shape[:2])
        return logits_of(standardize_slices(patches, nothing)[0])

    return standardized


def sized(model: Model, view: View, batch_size: int | None) -> Predictor:
    """The model's predictor with a batch that fits into a quarter of the memory that is free."""
    if batch_size is None:
        height, width = view.patch or view.image.shape[2:]
        filters = max(model.experiment.model.filters, len(model.contrasts))
        one_slice = 4 * _LIVE * filters * height * width
        free = device.free_bytes(model.predict.device) / 4
        batch_size = int(min(max(free // one_slice, 1), 64))
    return replace(model.predict, batch_size=batch_size)
