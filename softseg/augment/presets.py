"""Named chains of augmentation, which a configuration can use and change."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, list[dict[str, dict[str, Any]]]] = {
    # the paper's affine, and intensities changed mildly
    "light": [
        {"affine": {"rotation": 20, "translation": 0.03, "scale": 0.1}},
        {"noise": {"std": [0, 0.1], "probability": 0.15}},
        {"gamma": {"exponent": [0.7, 1.5], "probability": 0.3}},
    ],
    # nnU-Net's chain for slices: Isensee et al. 2021, supplementary note 2, with the
    # probabilities and ranges of its version 2
    "nnunet": [
        {"affine": {"rotation": 180, "translation": 0, "scale": 0, "probability": 0.2}},
        {
            "affine": {
                "rotation": 0,
                "translation": 0,
                "scale_range": [0.7, 1.4],
                "probability": 0.2,
            }
        },
        {"flip": {"axes": [0, 1]}},
        {"noise": {"std": [0, 0.1], "probability": 0.1, "same_for_contrasts": True}},
        {"blur": {"sigma": [0.5, 1], "probability": 0.2, "probability_per_contrast": 0.5}},
        {"brightness": {"factor": [0.75, 1.25], "probability": 0.15}},
        {"contrast": {"factor": [0.75, 1.25], "probability": 0.15}},
        {
            "low_resolution": {
                "zoom": [0.5, 1],
                "probability": 0.25,
                "probability_per_contrast": 0.5,
            }
        },
        {"gamma": {"exponent": [0.7, 1.5], "inverted": True, "probability": 0.1}},
        {"gamma": {"exponent": [0.7, 1.5], "probability": 0.3}},
    ],
}
"""Name -> the steps that `- preset: NAME` stands for, as in a configuration."""
