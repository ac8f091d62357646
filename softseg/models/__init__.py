"""Models: samples (B, C, *spatial) -> logits (B, K, *spatial), of slices (2D) or patches (3D)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter
from torch import nn

from softseg.core.component import parse_component
from softseg.models.levels import plan_levels
from softseg.models.unet import Unet2d, Unet3d

__all__ = ["Model", "Unet2d", "Unet3d", "build", "plan_levels"]


_union: TypeAdapter[Unet2d | Unet3d] = TypeAdapter(
    Annotated[Unet2d | Unet3d, Field(discriminator="name")]
)


def _named(spec: Any) -> Any:
    """Parse the fields of a network; the 2D one is the default of a spec without a name."""
    # pydantic passes the fields as Python data, where a strict tuple rejects a YAML file's list
    return (
        parse_component(_union, {"name": "unet2d", **spec}) if isinstance(spec, Mapping) else spec
    )


Model = Annotated[Unet2d | Unet3d, Field(discriminator="name"), BeforeValidator(_named)]
_family: TypeAdapter[Unet2d | Unet3d] = TypeAdapter(Model)


def build(spec: Any, channels: int = 1, targets: int = 1) -> nn.Module:
    """Build the network that the section `model:` describes: `{"name": "unet2d", "filters": 64}`.

    Freshly initialized, for C = `channels` input contrasts and K = `targets` outputs, it returns
    logits. The head is a separate module (`softseg.models.heads.build`), but the initial bias that
    the spec's head defines is set here.

    Raises pydantic.ValidationError if the spec names no model, or a field is wrong.
    """
    return parse_component(_family, spec)(channels, targets)
