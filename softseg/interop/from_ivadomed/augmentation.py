"""Convert the random steps of `transformation` to `augment`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.interop.from_ivadomed.outcomes import (
    KeyOutcome,
    carry_over,
    contribute,
    leave_out,
    warn,
    write_fixed,
)
from softseg.interop.from_ivadomed.read import IvadomedConfig

# what a step changes: both image and mask, only the image, or only the mask
AUGMENTATIONS = {
    "RandomAffine": "both",
    "RandomReverse": "both",
    "ElasticTransform": "both",
    "RandomGamma": "image",
    "RandomBlur": "image",
    "RandomBiasField": "image",
    "AdditiveGaussianNoise": "image",
    "RandomShiftIntensity": "image",
    "HistogramClipping": "image",
    "Clahe": "image",
    "DilateGT": "mask",
    "BoundingBoxCrop": "both",
}
_SETS = "ivadomed applied it to {}: the YAML augments training only"
_ALWAYS = "ivadomed 2.2 flipped along every axis every time, by mistake: the YAML flips along \
each axis with probability 0.5"
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


def convert_augmentation(config: IvadomedConfig, name: str) -> Iterator[KeyOutcome]:
    """Convert one step of the chain, or report why it is left out."""
    key = f"transformation.{name}"
    types = f"{key}.dataset_type"
    sets = config.items(types, str)
    if name in _LEFT_OUT:
        parameters, reason = _LEFT_OUT[name]
        for step_key in (key, *(f"{key}.{parameter}" for parameter in parameters), types):
            yield leave_out(step_key, reason)
        return
    if name == "RandomAffine":
        yield from _affine(config, key)
    elif name == "RandomReverse":
        flip = ("augment", "RandomFlip")
        yield carry_over(config, key, (*flip, "axes"), [0, 1])
        yield write_fixed((*flip, "flip_probability"), 0.5)
        yield write_fixed((*flip, "p"), 1)
        if config.version == "2.2":
            yield warn(key, _ALWAYS)
    else:
        yield from _torchio(config, key, name)
    yield contribute(types, ("augment",))
    if sets != ["training"]:
        yield warn(types if sets else key, _SETS.format(", ".join(sets) or "all sets"))
    applied = config.items(f"{key}.applied_to", str)
    if AUGMENTATIONS[name] == "both" and applied and "gt" not in applied:
        yield warn(f"{key}.applied_to", "ivadomed did not move the mask: the YAML moves both")


def _affine(config: IvadomedConfig, key: str) -> Iterator[KeyOutcome]:
    """Convert ranges of rotation, translation and scale to their largest values."""
    step = ("augment", "affine")
    degrees = config.get(f"{key}.degrees", 0)
    angles = degrees if isinstance(degrees, list) and degrees else [degrees]
    if not all(isinstance(angle, int | float) for angle in angles):
        raise config.error(f"{key}.degrees", "must be degrees", degrees)
    symmetric = len(angles) == 1 or angles[0] == -angles[1]
    note = (
        "always applied"
        if symmetric
        else "ivadomed drew from this range, softseg draws symmetrically about 0"
    )
    largest = float(max(abs(angle) for angle in angles))
    yield carry_over(config, f"{key}.degrees", (*step, "rotation"), largest, note)
    translation, scale = (
        float(max(config.items(f"{key}.{name}", (int, float))[:2], default=0.0))  # in plane
        for name in ("translate", "scale")
    )
    note = "ivadomed rounded it to whole pixels"
    yield carry_over(config, f"{key}.translate", (*step, "translation"), translation, note)
    note = "ivadomed drew one factor for each axis, softseg draws one for both"
    yield carry_over(config, f"{key}.scale", (*step, "scale"), scale, note)


def _torchio(config: IvadomedConfig, key: str, name: str) -> Iterator[KeyOutcome]:
    """Convert a step to the TorchIO transform that ivadomed called, or its equivalent."""
    ours, parameters = _TORCHIO[name]
    for theirs, (parameter, default) in parameters.items():
        value = config.get(f"{key}.{theirs}", default)
        if name == "AdditiveGaussianNoise":
            value = [config.number(f"{key}.{theirs}", default)] * 2  # TorchIO draws from a range
        if name == "RandomBiasField" and theirs == "p":
            value = config.number(f"{key}.p", default) ** 2
            message = f"ivadomed applies this probability twice: the YAML has p: {value:g}"
            yield warn(f"{key}.p", message)
        yield carry_over(config, f"{key}.{theirs}", ("augment", ours, parameter), value)
    if name != "RandomBlur":  # an offset or a factor of the intensities does not change a blur
        yield warn(key, _STANDARDIZED)
    if name == "AdditiveGaussianNoise":
        yield write_fixed(("augment", ours, "p"), 1, "always applied")
