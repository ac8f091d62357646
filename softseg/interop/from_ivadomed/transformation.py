"""Convert `transformation` to `preprocess` and `augment`, and the filters of slices to `slices`."""

from __future__ import annotations

import math
from typing import Any

from softseg.interop.from_ivadomed.outcomes import OFF, WHOLE_SLICES, Outcomes
from softseg.interop.from_ivadomed.read import IvadomedConfig

_T = "transformation"
_L = "loader_parameters"
_APPLIED_TO = "images, masks and ROI are moved together, intensities change in images only"
_AROUND_ROI = "ivadomed cropped each slice around its own ROI, softseg all slices of a volume \
around one center"
_NO_ROI = "without roi_params.suffix ivadomed has no ROI to crop around: the YAML file crops \
around the center"
_ROUNDED = "ivadomed 2.2 also rounded masks to 0 and 1 after resampling and after the affine: the \
YAML file makes them binary once, at the end"
_PREPROCESSING = ("Resample", "CenterCrop", "ROICrop", "NormalizeInstance", "NumpyToTensor")
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_IN_PLANE = "ivadomed resampled each slice in its plane and never along the third axis: neither \
does the YAML file"
_JOINTLY = "ivadomed 2.2 normalized all contrasts together, unlike the paper and ivadomed since \
2021, and so does the YAML file (standardize: {joint: true}; false is recommended)"
_SETS = "ivadomed applied it to {}: the YAML file augments training only"
_ALWAYS = "ivadomed 2.2 flipped along every axis every time, by mistake: the YAML file flips \
along each axis with probability 0.5"
_STANDARDIZED = (
    "ivadomed changed intensities at this step's place in the chain, mostly raw ones: the \
YAML changes standardized ones by the same numbers, so check these numbers"
)
_LEFT_OUT = {
    "ElasticTransform": (
        ("alpha_range", "sigma_range", "p"),
        "TorchIO has other parameters for it: write augment: - RandomElasticDeformation: {...}",
    ),
    "RandomShiftIntensity": (
        ("shift_range", "prob"),
        "an offset, which normalizing each slice afterwards removes again",
    ),
    "HistogramClipping": (("min_percentile", "max_percentile"), "intensities are not clipped"),
    "Clahe": (("clip_limit", "kernel_size"), "histograms are not equalized"),
    "DilateGT": (
        ("dilation_factor",),
        "masks are not dilated: they are soft by their partial volume",
    ),
    "BoundingBoxCrop": (
        ("size",),
        "there is no bounding box of another model; preprocess.crop with around: roi is similar",
    ),
}
# ivadomed's name -> (TorchIO's, {its parameter: (TorchIO's, default)})
_TORCHIO: dict[str, tuple[str, dict[str, tuple[str, Any]]]] = {
    "RandomGamma": (
        "RandomGamma",
        {"log_gamma_range": ("log_gamma", [-0.3, 0.3]), "p": ("p", 0.5)},
    ),
    "RandomBlur": ("RandomBlur", {"sigma_range": ("std", [0.0, 2.0]), "p": ("p", 0.5)}),
    "RandomBiasField": (
        "RandomBiasField",
        {"coefficients": ("coefficients", 0.5), "order": ("order", 3), "p": ("p", 0.5)},
    ),
    "AdditiveGaussianNoise": ("RandomNoise", {"mean": ("mean", 0.0), "std": ("std", 0.01)}),
}
# augmentations that move images and masks; those of TorchIO change images only
_MOVING = ("RandomAffine", "RandomReverse")
_AUGMENTATIONS = (*_MOVING, *_TORCHIO, *_LEFT_OUT)
_EVERY_PATCH = "patches are not filtered; trainer.oversample_foreground sets how many have a target"
_F = f"{_L}.slice_filter_params"
_ABSENT = f"{_F}.filter_absent_class"
_ANY_ABSENT = "slices without any target are excluded (exclude: empty_target), not those without \
one of several"
_INERT = "ivadomed reads it only with roi_params.suffix and ROICrop: it dropped no slice, and \
neither does the YAML file"
_EXCLUDE = ("slices", "exclude")
_RULES = {"filter_empty_input": ("empty_input", True), "filter_empty_mask": ("empty_target", False)}


def convert_transformation(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the steps in the order of the JSON, except that each slice is normalized last."""
    steps = config.mapping(_T)
    for name in steps:
        if name in (*_PREPROCESSING, *_AUGMENTATIONS):  # the keys of others are reported as unknown
            _report_common_keys(outcomes, name)
        if name == "Resample":
            _convert_resample(config, outcomes)
        elif name in ("CenterCrop", "ROICrop"):
            _convert_crop(config, outcomes, name)
    if "NormalizeInstance" in steps:
        key, over = f"{_T}.NormalizeInstance", ("preprocess", "standardize", "over")
        if config.volume_network:
            outcomes.write(over, "volume", f"{key}: ivadomed normalized each patch on its own")
        else:
            note = "each slice, again after its augmentation, whatever the order in the JSON"
            outcomes.write(over, "slice", f"{key}: {note}")
        outcomes.contribute(key, over)
        outcomes.contribute(f"{key}.applied_to", over)
        if config.version == "2.2" and config.flag(f"{_L}.multichannel", False):
            outcomes.write(("preprocess", "standardize", "joint"), True, "as in ivadomed 2.2")
            outcomes.warn(f"{_L}.multichannel", _JOINTLY)
    for name in steps:
        if name in _AUGMENTATIONS:
            _convert_augmentation(config, outcomes, name)
    soft = f"{_L}.soft_gt"
    if config.flag(soft, False):
        outcomes.contribute(soft, ("augment",), f"{soft}: true, so masks are not made binary")
        return
    note = "masks are made binary after all other steps"
    outcomes.carry_over(soft, ("augment", "binarize", "threshold"), 0.5, note)
    if config.version == "2.2":
        outcomes.warn(soft, _ROUNDED)


def _report_common_keys(outcomes: Outcomes, name: str) -> None:
    """Report `applied_to`, `dataset_type` and `preprocessing`, which every step may have."""
    key = f"{_T}.{name}"
    if name == "NumpyToTensor":
        outcomes.leave_out(key, "an internal step of ivadomed")
    reason = "softseg knows which steps are applied once per volume (preprocess)"
    outcomes.leave_out(f"{key}.preprocessing", reason)
    if name != "NormalizeInstance":
        outcomes.leave_out(f"{key}.applied_to", _APPLIED_TO)
    if name in _PREPROCESSING:
        outcomes.leave_out(f"{key}.dataset_type", "all sets are preprocessed in the same way")


def _convert_resample(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the spacing to zooms; that of slices, only of their two axes."""
    zooms = ("preprocess", "resample", "zooms")
    keys = [f"{_T}.Resample.{name}" for name in ("hspace", "wspace", "dspace")]
    height, width, depth = (config.number(key, 1.0) for key in keys)
    if not config.volume_network:
        outcomes.warn(keys.pop(), _IN_PLANE)
    value = in_file_order(config, height, width, depth if config.volume_network else None)
    for key in keys:
        outcomes.carry_over(key, zooms, value)
    outcomes.write(("preprocess", "resample", "image_order"), 2, "as in ivadomed")
    outcomes.write(("preprocess", "resample", "label_order"), 1, "as in ivadomed")


def _convert_crop(config: IvadomedConfig, outcomes: Outcomes, name: str) -> None:
    """Convert a crop around the center or the ROI."""
    key = f"{_T}.{name}.size"
    size = config.items(key, int)
    if len(size) < 2:
        raise config.error(key, "must be two whole numbers", config.get(key))
    if config.volume_network and len(size) == 3:
        box, note = in_file_order(config, *size), ""
    else:
        box = _in_plane_order(config, size[0], size[1])
        note = "" if len(size) == 2 else "the third is along the slices, which are not cropped"
    outcomes.carry_over(key, ("preprocess", "crop", "size"), box, note)
    around = ("preprocess", "crop", "around")
    if name == "ROICrop" and config.get(f"{_L}.roi_params.suffix"):
        outcomes.write(around, "roi", _AROUND_ROI)
    else:
        outcomes.write(around, "image")
        if name == "ROICrop":
            outcomes.warn(key, _NO_ROI)


def in_file_order(config: IvadomedConfig, height: Any, width: Any, depth: Any) -> list[Any]:
    """Return values along height, width and depth, across slices, in the order x, y, z."""
    values = _in_plane_order(config, height, width)
    values.insert(_AXES.get(config.text(f"{_L}.slice_axis", "axial"), 2), depth)
    return values


def _in_plane_order(config: IvadomedConfig, height: Any, width: Any) -> list[Any]:
    """Return a slice's height and width in the order of the file's axes: x before y before z.

    ivadomed's height is right-left in axial slices, but inferior-superior in the two others.
    """
    axial = config.text(f"{_L}.slice_axis", "axial") == "axial"
    return [height, width] if axial else [width, height]


def _convert_augmentation(config: IvadomedConfig, outcomes: Outcomes, name: str) -> None:
    """Convert one step of the chain, or report why it is left out."""
    key = f"{_T}.{name}"
    types = f"{key}.dataset_type"
    sets = config.items(types, str)
    if name in _LEFT_OUT:
        parameters, reason = _LEFT_OUT[name]
        for step_key in (key, *(f"{key}.{parameter}" for parameter in parameters), types):
            outcomes.leave_out(step_key, reason)
        return
    if name == "RandomAffine":
        _convert_affine(config, outcomes, key)
    elif name == "RandomReverse":
        if config.volume_network:  # TorchIO's transforms know the two axes of a slice only
            flip = ("augment", "flip")
            outcomes.carry_over(key, (*flip, "axes"), [0, 1, 2])
            outcomes.write((*flip, "probability"), 0.5)
        else:
            flip = ("augment", "RandomFlip")
            outcomes.carry_over(key, (*flip, "axes"), [0, 1])
            outcomes.write((*flip, "flip_probability"), 0.5)
            outcomes.write((*flip, "p"), 1)
        if config.version == "2.2":
            outcomes.warn(key, _ALWAYS)
    elif config.volume_network:
        _convert_to_step(config, outcomes, key, name)
    else:
        _convert_torchio(config, outcomes, key, name)
    outcomes.contribute(types, ("augment",))
    if sets != ["training"]:
        outcomes.warn(types if sets else key, _SETS.format(", ".join(sets) or "all sets"))
    applied = config.items(f"{key}.applied_to", str)
    if name in _MOVING and applied and "gt" not in applied:
        outcomes.warn(f"{key}.applied_to", "ivadomed did not move the mask: here both are moved")


def _convert_affine(config: IvadomedConfig, outcomes: Outcomes, key: str) -> None:
    """Convert ranges of rotation, translation and scale to their largest values."""
    step = ("augment", "affine")
    degrees = config.get(f"{key}.degrees", 0)
    angles = degrees if isinstance(degrees, list) and degrees else [degrees]
    if not all(isinstance(angle, int | float) for angle in angles):
        raise config.error(f"{key}.degrees", "must be degrees", degrees)
    note = "always applied"
    if len(angles) > 1 and angles[0] != -angles[1]:
        note = "ivadomed drew from this range, softseg draws symmetrically about 0"
    height, width = (config.number(f"{_T}.Resample.{side}", 1.0) for side in ("hspace", "wspace"))
    if height != width or not config.has(f"{_T}.Resample"):
        note += "; ivadomed turned slices in pixels, softseg turns them in mm, if pixels are oblong"
    if config.volume_network:
        note += "; ivadomed turned each patch about one axis, softseg turns it about all three"
    largest = float(max(abs(angle) for angle in angles))
    outcomes.carry_over(f"{key}.degrees", (*step, "rotation"), largest, note)
    axes = 3 if config.volume_network else 2
    translations, scales = (
        [float(value) for value in config.items(f"{key}.{name}", (int, float))[:axes]]
        for name in ("translate", "scale")
    )
    note = "the largest one for all axes" if len(set(translations)) > 1 else ""
    outcomes.carry_over(f"{key}.translate", (*step, "translation"), max(translations, default=0.0),
                        note)  # fmt: skip
    outcomes.write((*step, "whole_pixels"), True, "as in ivadomed; false is recommended")
    each = in_file_order if axes == 3 else _in_plane_order
    scale = each(config, *scales) if len(scales) == axes else max(scales, default=0.0)
    note = "one factor for each axis, as in ivadomed; one number for all keeps shapes"
    outcomes.carry_over(f"{key}.scale", (*step, "scale"), scale,
                        note if len(scales) == axes else "")  # fmt: skip


def _convert_torchio(config: IvadomedConfig, outcomes: Outcomes, key: str, name: str) -> None:
    """Convert a step to the TorchIO transform that ivadomed called, or its equivalent."""
    ours, parameters = _TORCHIO[name]
    for theirs, (parameter, default) in parameters.items():
        value = config.get(f"{key}.{theirs}", default)
        if name == "AdditiveGaussianNoise":
            value = [config.number(f"{key}.{theirs}", default)] * 2  # TorchIO draws from a range
        if name == "RandomBiasField" and theirs == "p":
            value = config.number(f"{key}.p", default) ** 2
            message = f"ivadomed applies this probability twice: the YAML file has p: {value:g}"
            outcomes.warn(f"{key}.p", message)
        outcomes.carry_over(f"{key}.{theirs}", ("augment", ours, parameter), value)
    if name != "RandomBlur":  # an offset or a factor of the intensities does not change a blur
        outcomes.warn(key, _STANDARDIZED)
    if name == "AdditiveGaussianNoise":
        outcomes.write(("augment", ours, "p"), 1, "always applied")


def _convert_to_step(config: IvadomedConfig, outcomes: Outcomes, key: str, name: str) -> None:
    """Convert a step of volumes to softseg's own, since TorchIO's transform slices here."""
    if name == "AdditiveGaussianNoise":
        std = config.number(f"{key}.std", 0.01)
        outcomes.carry_over(f"{key}.std", ("augment", "noise", "std"), [std, std], "always applied")
        outcomes.leave_out(f"{key}.mean", "an offset, which noise of mean 0 does not have")
    elif name == "RandomBiasField":
        step = ("augment", "bias_field")
        strength = config.number(f"{key}.coefficients", 0.5)
        outcomes.carry_over(f"{key}.coefficients", (*step, "strength"), [strength, strength])
        outcomes.carry_over_number(f"{key}.order", (*step, "order"), 3)
        twice = config.number(f"{key}.p", 0.5) ** 2
        outcomes.carry_over(f"{key}.p", (*step, "probability"), twice, "applied twice by ivadomed")
    else:
        blurs = name == "RandomBlur"
        step, field = ("augment", "blur" if blurs else "gamma"), "sigma" if blurs else "exponent"
        range_key = f"{key}.{'sigma_range' if blurs else 'log_gamma_range'}"
        limits = _range(config, range_key, [0.0, 2.0] if blurs else [-0.3, 0.3])
        value = limits if blurs else [math.exp(limit) for limit in limits]
        outcomes.carry_over(range_key, (*step, field), value)
        outcomes.carry_over_number(f"{key}.p", (*step, "probability"), 0.5)
    if name != "RandomBlur":  # an offset or a factor of the intensities does not change a blur
        outcomes.warn(key, _STANDARDIZED)


def _range(config: IvadomedConfig, key: str, default: list[float]) -> list[float]:
    """Return two numbers of at most 10 in size; raises UserError for anything else."""
    limits = [float(limit) for limit in config.items(key, (int, float))] or default
    if len(limits) != 2 or max(map(abs, limits)) > 10:
        raise config.error(key, "must be two numbers from -10 to 10", config.get(key))
    return limits


def convert_slices(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the axis of the slices, and the filters that exclude some of them."""
    axis = config.text(f"{_L}.slice_axis", "axial")
    note = "of a 3D network, only the plane of figures" if config.volume_network else ""
    outcomes.carry_over(f"{_L}.slice_axis", ("slices", "axis"), axis, note)
    # ivadomed looks at the ROI mask only with ROICrop
    uses_roi = bool(config.get(f"{_L}.roi_params.suffix")) and config.has(f"{_T}.ROICrop")
    one_target = len(config.items(f"{_L}.target_suffix", (str, list))) == 1
    absent_class = one_target and config.flag(_ABSENT, False)
    flags = {rule: config.flag(f"{_F}.{key}", default) for key, (rule, default) in _RULES.items()}
    exclude = [rule for rule, on in flags.items() if on]
    if absent_class and "empty_target" not in exclude:
        exclude.append("empty_target")
    if uses_roi:
        exclude.append("no_roi")
    for key in _RULES:
        outcomes.carry_over(f"{_F}.{key}", _EXCLUDE, exclude)
    if absent_class:
        note = "with one target the same as filter_empty_mask"
        outcomes.carry_over(_ABSENT, _EXCLUDE, exclude, note)
    else:
        outcomes.leave_out_unless_off(_ABSENT, _ANY_ABSENT)
    roi = f"{_L}.roi_params.slice_filter_roi"
    if uses_roi:
        note = "ivadomed dropped slices with at most this many ROI voxels; here those with 0"
        outcomes.carry_over(roi, _EXCLUDE, exclude, note)
    elif config.get(roi) is None:
        outcomes.leave_out(roi, OFF)
    else:
        outcomes.warn(roi, _INERT)
    classifier = "slices are not chosen by a classifier"
    for key in ("filter_classification", "classifier_path"):
        outcomes.leave_out_unless_off(f"{_F}.{key}", classifier)
    for key in ("filter_empty_mask", "filter_empty_input", "filter_absent_class"):
        reason = _EVERY_PATCH if config.volume_network else WHOLE_SLICES
        outcomes.leave_out_unless_off(f"{_L}.patch_filter_params.{key}", reason)
