"""Losses: prediction and target, both (B, K, *spatial) in [0, 1] -> a scalar to minimize.

`build` makes one from YAML; every class in the union of `family.py` is also an attribute of this
package, e.g. `softseg.losses.Dice`.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter

from softseg.core.component import parse_component
from softseg.losses.base import BaseLoss
from softseg.losses.combination import Combination, contour_losses, contour_only
from softseg.losses.family import SingleLoss

__all__ = ["Combination", "Loss", "SingleLoss", "build", "contour_losses", "contour_only"]

Loss = Annotated[SingleLoss | Combination, Field(discriminator="name")]
_family: TypeAdapter[SingleLoss | Combination] = TypeAdapter(Loss)


def build(spec: Any) -> SingleLoss | Combination:
    """Build the loss that the section `loss:` describes; call it with a prediction and a target.

    Args:
        spec: the content of the YAML file, such as `{"name": "adaptive_wing", "omega": 8}`.

    Returns:
        A function of prediction and target, both (B, K, *spatial), to a scalar; it computes in
        float32 for inputs of lower precision (float64 stays float64). Its `required_maps` are the
        kinds of contour maps, of the same shape, that it takes as a third argument, a mapping from
        kind to map. `ignore=`, of the same shape, marks voxels to leave out; `weight=` is how much
        each voxel counts. `at(epoch)`, counted from 0, is the loss of that epoch.

    Raises:
        pydantic.ValidationError: the spec names no loss, or a field is wrong.
    """
    return parse_component(_family, spec)


def __getattr__(name: str) -> type[BaseLoss]:
    """Return a class of the union by its name, so that the union is the only place to add one."""
    classes: dict[str, type[BaseLoss]] = {loss.__name__: loss for loss in get_args(SingleLoss)}
    if name not in classes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return classes[name]
