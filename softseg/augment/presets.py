"""Named chains of augmentation, which a configuration can use and change."""

from __future__ import annotations

from typing import Any

_Steps = list[dict[str, dict[str, Any]]]

_ROTATION_OR_SCALE: dict[str, Any] = {"translation": 0, "probability": 0.2}


def _nnunet(rotation: float, mirrored: list[int], plane: list[int] | None = None) -> _Steps:
    """Return nnU-Net's chain: Isensee et al. 2021, supplementary note 2.

    Probabilities and ranges are those of its version 2. With a `plane`, images turn and lose
    resolution only along its axes, as nnU-Net trains on thick layers ("dummy 2D").
    """
    only: dict[str, Any] = {} if plane is None else {"axes": plane}
    often, each = {"probability": 0.15}, {"probability_per_contrast": 0.5}
    return [
        {"affine": {"rotation": rotation, "scale": 0, **_ROTATION_OR_SCALE, **only}},
        {"affine": {"rotation": 0, "scale_range": [0.7, 1.4], **_ROTATION_OR_SCALE, **only}},
        {"flip": {"axes": mirrored}},
        {"noise": {"std": [0, 0.1], "probability": 0.1, "same_for_contrasts": True}},
        {"blur": {"sigma": [0.5, 1], "probability": 0.2, **each}},
        {"brightness": {"factor": [0.75, 1.25], **often}},
        {"contrast": {"factor": [0.75, 1.25], **often}},
        {"low_resolution": {"zoom": [0.5, 1], "probability": 0.25, **each, **only}},
        {"gamma": {"exponent": [0.7, 1.5], "inverted": True, "probability": 0.1}},
        {"gamma": {"exponent": [0.7, 1.5], "probability": 0.3}},
    ]


PRESETS: dict[str, _Steps] = {
    # the paper's affine, and intensities changed mildly
    "light": [
        {"affine": {"rotation": 20, "translation": 0.03, "scale": 0.1}},
        {"noise": {"std": [0, 0.1], "probability": 0.15}},
        {"gamma": {"exponent": [0.7, 1.5], "probability": 0.3}},
    ],
    # the paper's affine with nnU-Net's changes of intensity, each contrast on its own
    "strong": [
        {"affine": {"rotation": 20, "translation": 0.03, "scale": 0.1}},
        {"noise": {"std": [0, 0.1], "probability": 0.1}},
        {"blur": {"sigma": [0.5, 1], "probability": 0.2}},
        {"brightness": {"factor": [0.75, 1.25], "probability": 0.15}},
        {"contrast": {"factor": [0.75, 1.25], "probability": 0.15}},
        {"low_resolution": {"zoom": [0.5, 1], "probability": 0.25}},
        {"gamma": {"exponent": [0.7, 1.5], "inverted": True, "probability": 0.1}},
        {"gamma": {"exponent": [0.7, 1.5], "probability": 0.3}},
    ],
    "nnunet": _nnunet(180, [0, 1]),
    "nnunet_3d": _nnunet(30, [0, 1, 2]),
    "nnunet_anisotropic": _nnunet(180, [0, 1, 2], plane=[0, 1]),
}
"""Name -> the steps that `- preset: NAME` stands for, as in a configuration."""

PRESET_AXES = {"nnunet": 2, "nnunet_3d": 3, "nnunet_anisotropic": 3}
"""Spatial axes of the samples that a preset is for: 2 of slices, 3 of patches. Others fit both."""
