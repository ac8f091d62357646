"""`transformation` -> `preprocess`, and what its steps have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.interop.from_ivadomed.augmentation import AUGMENTATIONS, convert_augmentation
from softseg.interop.from_ivadomed.outcomes import (
    OFF,
    Fact,
    also,
    carry,
    fixed,
    leave,
    leave_unless_off,
    warn,
)
from softseg.interop.from_ivadomed.read import Source

_T = "transformation"
_ALIKE = "images, masks and ROI are moved alike, intensities are of images alone"
_ABOUT_ROI = (
    "ivadomed cropped each slice about its own ROI, softseg all of a volume about one center"
)
_NO_ROI = "without roi_params.suffix ivadomed has no ROI to crop about: the YAML crops about the \
center"
_ROUNDED = "ivadomed 2.2 also rounded masks to 0 and 1 after resampling and after the affine: the \
YAML makes them binary once, at the end"
_PREPROCESSING = ("Resample", "CenterCrop", "ROICrop", "NormalizeInstance", "NumpyToTensor")
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_IN_PLANE = "ivadomed resampled each slice in its plane and never along the third axis: neither \
does the YAML"
_JOINTLY = "ivadomed 2.2 normalized all contrasts together: the YAML normalizes each on its own, \
as ivadomed has since 2021"


def convert_transformation(source: Source) -> Iterator[Fact]:
    """`preprocess` and `augment`, in the order of the JSON; each slice is normalized last."""
    steps = source.mapping(_T)
    for name in steps:
        yield from _common(name)
        if name == "Resample":
            yield from _resample(source)
        elif name in ("CenterCrop", "ROICrop"):
            yield from _crop(source, name)
    if "NormalizeInstance" in steps:
        yield from _normalize(source)
    for name in (one for one in steps if one in AUGMENTATIONS):
        yield from convert_augmentation(source, name)
    yield from _binarize(source)


def _common(name: str) -> Iterator[Fact]:
    """`applied_to`, `dataset_type`, `preprocessing`, which every step may have."""
    key = f"{_T}.{name}"
    if name not in _PREPROCESSING and name not in AUGMENTATIONS:
        return  # an unknown transformation: its keys are named as unknown
    if name == "NumpyToTensor":
        yield leave(key, "an inner matter of ivadomed")
    yield leave(f"{key}.preprocessing", "what is done once to a volume is known (preprocess)")
    if name != "NormalizeInstance":
        yield leave(f"{key}.applied_to", _ALIKE)
    if name in _PREPROCESSING:
        yield leave(f"{key}.dataset_type", "all sets are preprocessed alike")


def _resample(source: Source) -> Iterator[Fact]:
    zooms = ("preprocess", "resample", "zooms")
    spacing = {one: source.number(f"{_T}.Resample.{one}", 1.0) for one in ("hspace", "wspace")}
    order = _in_file_order(source, spacing["hspace"], spacing["wspace"])
    value = list(order)
    value.insert(_AXES.get(_axis(source), 2), None)
    for key in spacing:
        yield carry(source, f"{_T}.Resample.{key}", zooms, value)
    yield fixed(("preprocess", "resample", "image_order"), 2, "ivadomed's")
    yield fixed(("preprocess", "resample", "label_order"), 1, "ivadomed's")
    yield warn(f"{_T}.Resample.dspace", _IN_PLANE)


def _crop(source: Source, name: str) -> Iterator[Fact]:
    key = f"{_T}.{name}"
    size = source.items(f"{key}.size", int)
    if len(size) < 2:
        raise source.wrong(f"{key}.size", "must be two whole numbers", source.get(f"{key}.size"))
    note = "" if len(size) == 2 else "the third is along the slices, which are not cropped"
    cut = _in_file_order(source, size[0], size[1])
    yield carry(source, f"{key}.size", ("preprocess", "crop", "size"), cut, note)
    around_roi = name == "ROICrop" and bool(source.get("loader_parameters.roi_params.suffix"))
    around = ("preprocess", "crop", "around")
    yield fixed(around, "roi", _ABOUT_ROI) if around_roi else fixed(around, "image")
    if name == "ROICrop" and not around_roi:
        yield warn(f"{key}.size", _NO_ROI)


def _normalize(source: Source) -> Iterator[Fact]:
    over = ("preprocess", "standardize", "over")
    note = "each slice, again after its augmentation, whatever the order of the JSON"
    yield fixed(over, "slice", f"{_T}.NormalizeInstance: {note}")
    key = f"{_T}.NormalizeInstance"
    yield also(key, over)
    yield also(f"{key}.applied_to", over)
    multichannel = "loader_parameters.multichannel"
    if source.version == "2.2" and source.flag(multichannel, False):
        yield warn(multichannel, _JOINTLY)


def _binarize(source: Source) -> Iterator[Fact]:
    """Hard candidates: ivadomed binarizes unless `soft_gt`."""
    key = "loader_parameters.soft_gt"
    if source.flag(key, False):
        yield also(key, ("augment",), f"{key}: true, so masks are not made binary")
        return
    note = "masks are made binary after all other steps"
    yield carry(source, key, ("augment", "binarize", "threshold"), 0.5, note)
    if source.version == "2.2":
        yield warn(key, _ROUNDED)


def _axis(source: Source) -> str:
    return source.text("loader_parameters.slice_axis", "axial")


def _in_file_order(source: Source, height: Any, width: Any) -> list[Any]:
    """ivadomed's height and width of a slice -> right-left, posterior-anterior, inferior-superior.

    Its height is right-left in axial slices, but inferior-superior in the two others.
    """
    return [height, width] if _axis(source) == "axial" else [width, height]


_L = "loader_parameters"
_F = f"{_L}.slice_filter_params"
_ABSENT = f"{_F}.filter_absent_class"
_ONE_OF_THEM = (
    "slices are dropped where no target is (exclude: empty_target), not where one of them \
is not"
)
_INERT = "ivadomed reads it only with roi_params.suffix and ROICrop: it dropped no slice, and \
neither does the YAML"
_DROP = ("slices", "exclude")
_PATCHES = "training takes whole slices, not patches"
_RULES = {"filter_empty_input": ("empty_input", True), "filter_empty_mask": ("empty_target", False)}


def crops_around_roi(source: Source) -> bool:
    """Whether the ROI mask is used: ivadomed looks at it only with ROICrop."""
    return bool(source.get(f"{_L}.roi_params.suffix")) and source.has("transformation.ROICrop")


def convert_slices(source: Source) -> Iterator[Fact]:
    """`slices`, and the filters that have no counterpart."""
    axis = source.text(f"{_L}.slice_axis", "axial")
    yield carry(source, f"{_L}.slice_axis", ("slices", "axis"), axis)
    drop = _drop(source)
    for key in _RULES:
        yield carry(source, f"{_F}.{key}", _DROP, drop)
    if _absent_class(source):
        yield carry(source, _ABSENT, _DROP, drop, "with one target the same as filter_empty_mask")
    else:
        yield leave_unless_off(source, _ABSENT, _ONE_OF_THEM)
    yield from _roi(source, drop)
    yield from _without_counterpart(source)


def _drop(source: Source) -> list[str]:
    """Which slices are dropped."""
    rules = _RULES.items()
    drop = [ours for key, (ours, default) in rules if source.flag(f"{_F}.{key}", default)]
    if _absent_class(source) and "empty_target" not in drop:
        drop.append("empty_target")
    return [*drop, "no_roi"] if crops_around_roi(source) else drop


def _absent_class(source: Source) -> bool:
    """Whether slices without one target are dropped, and there is only one."""
    targets = source.items(f"{_L}.target_suffix", (str, list))
    return len(targets) == 1 and source.flag(_ABSENT, False)


def _roi(source: Source, drop: list[str]) -> Iterator[Fact]:
    key = f"{_L}.roi_params.slice_filter_roi"
    if crops_around_roi(source):
        note = "ivadomed also dropped slices with no more ROI voxels than this; here those with 0"
        yield carry(source, key, _DROP, drop, note)
    elif source.get(key) is None:
        yield leave(key, OFF)
    else:
        yield warn(key, _INERT)


def _without_counterpart(source: Source) -> Iterator[Fact]:
    classifier = "slices are not chosen by a classifier"
    yield leave_unless_off(source, f"{_F}.filter_classification", classifier)
    yield leave_unless_off(source, f"{_F}.classifier_path", classifier)
    for key in ("filter_empty_mask", "filter_empty_input", "filter_absent_class"):
        yield leave_unless_off(source, f"{_L}.patch_filter_params.{key}", _PATCHES)
