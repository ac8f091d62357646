"""The random steps of `transformation` -> `augment`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.interop.from_ivadomed.outcomes import Fact, also, carry, fixed, leave, warn
from softseg.interop.from_ivadomed.read import Source

# what is changed: both image and mask, the image alone, or the mask alone
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
_SETS = "ivadomed changed {} by it: the YAML augments training only"
_ALWAYS = "ivadomed 2.2 flipped along every axis every time, by a mistake: the YAML flips along \
each axis half of the times"
_STANDARDIZED = "ivadomed changed intensities at its place in the chain, mostly raw ones: the YAML \
changes standardized ones by the same numbers, so look at these again"
_LEFT = {
    "ElasticTransform": (
        ("alpha_range", "sigma_range", "p"),
        "TorchIO bends by other parameters: write augment: - RandomElasticDeformation: {...}",
    ),
    "RandomShiftIntensity": (
        ("shift_range", "prob"),
        "an offset; normalizing each slice afterwards takes it off again",
    ),
    "HistogramClipping": (("min_percentile", "max_percentile"), "intensities are not clipped"),
    "Clahe": (("clip_limit", "kernel_size"), "histograms are not equalized"),
    "DilateGT": (("dilation_factor",), "masks are not dilated: they are soft by their own voxels"),
    "BoundingBoxCrop": (
        ("size",),
        "no boxes of another model; preprocess.crop around: roi is near",
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


def convert_augmentation(source: Source, name: str) -> Iterator[Fact]:
    """One step of the chain, or why there is none."""
    key = f"transformation.{name}"
    if name == "RandomAffine":
        yield from _affine(source, key)
    elif name == "RandomReverse":
        yield from _flip(source, key)
    elif name in _TORCHIO:
        yield from _torchio(source, key, name)
    else:
        parameters, why = _LEFT[name]
        for one in (key, *(f"{key}.{parameter}" for parameter in parameters)):
            yield leave(one, why)
    yield from _sets(source, key, name)


def _sets(source: Source, key: str, name: str) -> Iterator[Fact]:
    """In which sets, and to the image or its mask too."""
    types = f"{key}.dataset_type"
    sets = source.items(types, str)
    if name in _LEFT:
        yield leave(types, _LEFT[name][1])
        return
    yield also(types, ("augment",))
    if sets != ["training"]:
        told = ", ".join(sets) or "all sets"
        yield warn(types if sets else key, _SETS.format(told))
    applied = source.items(f"{key}.applied_to", str)
    if AUGMENTATIONS[name] == "both" and applied and "gt" not in applied:
        yield warn(f"{key}.applied_to", "ivadomed did not move the mask: the YAML moves both")


def _affine(source: Source, key: str) -> Iterator[Fact]:
    step = ("augment", "affine")
    degrees = source.get(f"{key}.degrees", 0)
    angles = degrees if isinstance(degrees, list) and degrees else [degrees]
    if not all(isinstance(one, int | float) for one in angles):
        raise source.wrong(f"{key}.degrees", "must be degrees", degrees)
    sides = len(angles) == 1 or angles[0] == -angles[1]
    note = "always applied" if sides else "ivadomed drew from this range, softseg draws about 0"
    largest = float(max(abs(one) for one in angles))
    yield carry(source, f"{key}.degrees", (*step, "rotation"), largest, note)
    translate, scale = (_largest(source, f"{key}.{one}") for one in ("translate", "scale"))
    pixels = "ivadomed rounded it to whole pixels"
    yield carry(source, f"{key}.translate", (*step, "translation"), translate, pixels)
    alone = "ivadomed drew each axis on its own, softseg one factor for both"
    yield carry(source, f"{key}.scale", (*step, "scale"), scale, alone)


def _largest(source: Source, key: str) -> float:
    """The larger of the two in-plane ranges."""
    return float(max(source.items(key, (int, float))[:2], default=0.0))


def _flip(source: Source, key: str) -> Iterator[Fact]:
    step = ("augment", "RandomFlip")
    yield carry(source, key, (*step, "axes"), [0, 1])
    yield fixed((*step, "flip_probability"), 0.5)
    yield fixed((*step, "p"), 1)
    if source.version == "2.2":
        yield warn(key, _ALWAYS)


def _torchio(source: Source, key: str, name: str) -> Iterator[Fact]:
    ours, parameters = _TORCHIO[name]
    for theirs, (parameter, default) in parameters.items():
        value = source.get(f"{key}.{theirs}", default)
        if name == "AdditiveGaussianNoise":
            value = [source.number(f"{key}.{theirs}", default)] * 2  # TorchIO draws from a range
        if name == "RandomBiasField" and theirs == "p":
            value = source.number(f"{key}.p", default) ** 2
            yield warn(f"{key}.p", f"ivadomed throws this die twice: the YAML has p: {value:g}")
        yield carry(source, f"{key}.{theirs}", ("augment", ours, parameter), value)
    if name != "RandomBlur":  # it minds neither an offset nor a factor of the intensities
        yield warn(key, _STANDARDIZED)
    if name == "AdditiveGaussianNoise":
        yield fixed(("augment", ours, "p"), 1, "always applied")
