"""Convert `transformation` to `preprocess` and `augment`, and the slices to `slices`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.interop.from_ivadomed.augmentation import AUGMENTATIONS, convert_augmentation
from softseg.interop.from_ivadomed.outcomes import (
    OFF,
    WHOLE_SLICES,
    KeyOutcome,
    carry_over,
    contribute,
    leave_out,
    leave_out_unless_off,
    warn,
    write_fixed,
)
from softseg.interop.from_ivadomed.read import IvadomedConfig

_T = "transformation"
_L = "loader_parameters"
_APPLIED_TO = "images, masks and ROI are moved together, intensities change in images only"
_AROUND_ROI = "ivadomed cropped each slice around its own ROI, softseg all slices of a volume \
around one center"
_NO_ROI = "without roi_params.suffix ivadomed has no ROI to crop around: the YAML crops around the \
center"
_ROUNDED = "ivadomed 2.2 also rounded masks to 0 and 1 after resampling and after the affine: the \
YAML makes them binary once, at the end"
_PREPROCESSING = ("Resample", "CenterCrop", "ROICrop", "NormalizeInstance", "NumpyToTensor")
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_IN_PLANE = "ivadomed resampled each slice in its plane and never along the third axis: neither \
does the YAML"
_JOINTLY = "ivadomed 2.2 normalized all contrasts together: the YAML normalizes each on its own, \
as ivadomed has since 2021"
_F = f"{_L}.slice_filter_params"
_ABSENT = f"{_F}.filter_absent_class"
_ANY_ABSENT = "slices without any target are excluded (exclude: empty_target), not those without \
one of several"
_INERT = "ivadomed reads it only with roi_params.suffix and ROICrop: it dropped no slice, and \
neither does the YAML"
_EXCLUDE = ("slices", "exclude")
_RULES = {"filter_empty_input": ("empty_input", True), "filter_empty_mask": ("empty_target", False)}


def convert_transformation(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the steps in the order of the JSON, except that each slice is normalized last."""
    steps = config.mapping(_T)
    for name in steps:
        yield from _common_keys(name)
        if name == "Resample":
            yield from _resample(config)
        elif name in ("CenterCrop", "ROICrop"):
            yield from _crop(config, name)
    if "NormalizeInstance" in steps:
        key, over = f"{_T}.NormalizeInstance", ("preprocess", "standardize", "over")
        note = f"{key}: each slice, again after its augmentation, whatever the order in the JSON"
        yield write_fixed(over, "slice", note)
        yield contribute(key, over)
        yield contribute(f"{key}.applied_to", over)
        if config.version == "2.2" and config.flag(f"{_L}.multichannel", False):
            yield warn(f"{_L}.multichannel", _JOINTLY)
    for name in steps:
        if name in AUGMENTATIONS:
            yield from convert_augmentation(config, name)
    soft = f"{_L}.soft_gt"
    if config.flag(soft, False):
        yield contribute(soft, ("augment",), f"{soft}: true, so masks are not made binary")
        return
    note = "masks are made binary after all other steps"
    yield carry_over(config, soft, ("augment", "binarize", "threshold"), 0.5, note)
    if config.version == "2.2":
        yield warn(soft, _ROUNDED)


def _common_keys(name: str) -> Iterator[KeyOutcome]:
    """Report `applied_to`, `dataset_type` and `preprocessing`, which every step may have."""
    key = f"{_T}.{name}"
    if name not in _PREPROCESSING and name not in AUGMENTATIONS:
        return  # the keys of an unknown transformation are reported as unknown
    if name == "NumpyToTensor":
        yield leave_out(key, "an internal step of ivadomed")
    reason = "softseg knows which steps are applied once per volume (preprocess)"
    yield leave_out(f"{key}.preprocessing", reason)
    if name != "NormalizeInstance":
        yield leave_out(f"{key}.applied_to", _APPLIED_TO)
    if name in _PREPROCESSING:
        yield leave_out(f"{key}.dataset_type", "all sets are preprocessed in the same way")


def _resample(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the spacing of a slice to zooms of its two axes; the third is not resampled."""
    zooms = ("preprocess", "resample", "zooms")
    keys = [f"{_T}.Resample.{name}" for name in ("hspace", "wspace")]
    height, width = (config.number(key, 1.0) for key in keys)
    value = _in_file_order(config, height, width)
    value.insert(_AXES.get(config.text(f"{_L}.slice_axis", "axial"), 2), None)
    for key in keys:
        yield carry_over(config, key, zooms, value)
    yield write_fixed(("preprocess", "resample", "image_order"), 2, "as in ivadomed")
    yield write_fixed(("preprocess", "resample", "label_order"), 1, "as in ivadomed")
    yield warn(f"{_T}.Resample.dspace", _IN_PLANE)


def _crop(config: IvadomedConfig, name: str) -> Iterator[KeyOutcome]:
    """Convert a crop around the center or the ROI."""
    key = f"{_T}.{name}.size"
    size = config.items(key, int)
    if len(size) < 2:
        raise config.error(key, "must be two whole numbers", config.get(key))
    note = "" if len(size) == 2 else "the third is along the slices, which are not cropped"
    in_plane = _in_file_order(config, size[0], size[1])
    yield carry_over(config, key, ("preprocess", "crop", "size"), in_plane, note)
    around = ("preprocess", "crop", "around")
    if name == "ROICrop" and config.get(f"{_L}.roi_params.suffix"):
        yield write_fixed(around, "roi", _AROUND_ROI)
        return
    yield write_fixed(around, "image")
    if name == "ROICrop":
        yield warn(key, _NO_ROI)


def _in_file_order(config: IvadomedConfig, height: Any, width: Any) -> list[Any]:
    """Return a slice's height and width in the order of the file's axes: x before y before z.

    ivadomed's height is right-left in axial slices, but inferior-superior in the two others.
    """
    axial = config.text(f"{_L}.slice_axis", "axial") == "axial"
    return [height, width] if axial else [width, height]


def convert_slices(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the axis of the slices, and the filters that exclude some of them."""
    axis = config.text(f"{_L}.slice_axis", "axial")
    yield carry_over(config, f"{_L}.slice_axis", ("slices", "axis"), axis)
    # ivadomed looks at the ROI mask only with ROICrop
    uses_roi = bool(config.get(f"{_L}.roi_params.suffix")) and config.has(f"{_T}.ROICrop")
    one_target = len(config.items(f"{_L}.target_suffix", (str, list))) == 1
    absent_class = one_target and config.flag(_ABSENT, False)
    exclude = [
        rule for key, (rule, default) in _RULES.items() if config.flag(f"{_F}.{key}", default)
    ]
    if absent_class and "empty_target" not in exclude:
        exclude.append("empty_target")
    if uses_roi:
        exclude.append("no_roi")
    for key in _RULES:
        yield carry_over(config, f"{_F}.{key}", _EXCLUDE, exclude)
    if absent_class:
        note = "with one target the same as filter_empty_mask"
        yield carry_over(config, _ABSENT, _EXCLUDE, exclude, note)
    else:
        yield leave_out_unless_off(config, _ABSENT, _ANY_ABSENT)
    roi = f"{_L}.roi_params.slice_filter_roi"
    if uses_roi:
        note = "ivadomed dropped slices with at most this many ROI voxels; here those with 0"
        yield carry_over(config, roi, _EXCLUDE, exclude, note)
    else:
        yield leave_out(roi, OFF) if config.get(roi) is None else warn(roi, _INERT)
    classifier = "slices are not chosen by a classifier"
    yield leave_out_unless_off(config, f"{_F}.filter_classification", classifier)
    yield leave_out_unless_off(config, f"{_F}.classifier_path", classifier)
    for key in ("filter_empty_mask", "filter_empty_input", "filter_absent_class"):
        yield leave_out_unless_off(config, f"{_L}.patch_filter_params.{key}", WHOLE_SLICES)
