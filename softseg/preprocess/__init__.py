"""Preprocessing, once for each volume: orient, standardize, resample, crop, cut into slices.

A volume's path: `build_stack` loads it, `preprocess` turns it into slices (or the `cache` has
them), and `stack` joins the slices of all subjects. `geometry` is the way there and its inverse.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter

from softseg.core.component import SingleKey, parse_component
from softseg.preprocess.crop import Crop
from softseg.preprocess.geometry import Geometry, Step
from softseg.preprocess.preprocess import VolumeSlices, preprocess
from softseg.preprocess.resample import Resample
from softseg.preprocess.slices import Slices
from softseg.preprocess.standardize import Standardize

__all__ = [
    "Chain",
    "Crop",
    "Geometry",
    "Resample",
    "Slices",
    "Standardize",
    "Step",
    "VolumeSlices",
    "build",
    "preprocess",
]


def _validate_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Reject a step that appears twice, and standardization per slice before another step."""
    names = [step.name for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"`{name}` appears twice; each preprocessing step may appear once")
    for step in steps[:-1]:
        if isinstance(step, Standardize) and step.over == "slice":
            raise ValueError("`standardize: {over: slice}` must be the last step")
    return steps


Chain = Annotated[tuple[Annotated[Step, SingleKey], ...], AfterValidator(_validate_steps)]


def build(spec: Any) -> tuple[Step, ...]:
    """Return the validated steps of a YAML's `preprocess:` list, as `preprocess` takes them."""
    steps: tuple[Step, ...] = parse_component(TypeAdapter(Chain), spec)
    return steps
