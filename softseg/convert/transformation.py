"""`transformation` -> `preprocess`, and what its steps have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.convert.augmentation import AUGMENTATIONS, convert_augmentation
from softseg.convert.facts import Fact, also, carry, fixed, leave, warn
from softseg.convert.read import Source

_T = "transformation"
_ALIKE = "images, masks and ROI are moved alike, intensities are of images alone"
_ABOUT_ROI = (
    "ivadomed cropped each slice about its own ROI, softseg all of a volume about one centre"
)
_NO_ROI = "without roi_params.suffix ivadomed has no ROI to crop about: the YAML crops about the \
centre"
_ROUNDED = "ivadomed 2.2 also rounded masks to 0 and 1 after resampling and after the affine: the \
YAML makes them binary once, at the end"
_PREPROCESSING = ("Resample", "CenterCrop", "ROICrop", "NormalizeInstance", "NumpyToTensor")
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_IN_PLANE = "ivadomed resampled each slice in its plane and never along the third axis: neither \
does the YAML"
_JOINTLY = "ivadomed 2.2 normalised all contrasts together: the YAML normalises each on its own, \
as ivadomed has since 2021"


def convert_transformation(source: Source) -> Iterator[Fact]:
    """`preprocess` and `augment`, in the order of the JSON; each slice is normalised last."""
    steps = source.mapping(_T)
    for name in steps:
        yield from _common(name)
        if name == "Resample":
            yield from _resample(source)
        elif name in ("CenterCrop", "ROICrop"):
            yield from _crop(source, name)
    if "NormalizeInstance" in steps:
        yield from _normalise(source)
    for name in (one for one in steps if one in AUGMENTATIONS):
        yield from convert_augmentation(source, name)
    yield from _binarise(source)


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


def _normalise(source: Source) -> Iterator[Fact]:
    over = ("preprocess", "standardize", "over")
    note = "each slice, again after its augmentation, whatever the order of the JSON"
    yield fixed(over, "slice", f"{_T}.NormalizeInstance: {note}")
    key = f"{_T}.NormalizeInstance"
    yield also(key, over)
    yield also(f"{key}.applied_to", over)
    multichannel = "loader_parameters.multichannel"
    if source.version == "2.2" and source.flag(multichannel, False):
        yield warn(multichannel, _JOINTLY)


def _binarise(source: Source) -> Iterator[Fact]:
    """Hard candidates: ivadomed binarises unless `soft_gt`."""
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
