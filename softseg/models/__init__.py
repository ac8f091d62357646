"""Models: slices (B, C, H, W) -> logits (B, K, H, W)."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from torch import nn

from softseg.core.component import parse_component
from softseg.models.unet2d import Unet2d

__all__ = ["Model", "Unet2d", "build"]

Model = Unet2d
_family: TypeAdapter[Unet2d] = TypeAdapter(Model)


def build(spec: Any, channels: int = 1, targets: int = 1) -> nn.Module:
    """Build the network that the section `model:` describes: `{"name": "unet2d", "filters": 64}`.

    Freshly initialized, for C = `channels` input contrasts and K = `targets` outputs, it returns
    logits. The head is a separate module (`softseg.models.heads.build`), but the initial bias that
    the spec's head defines is set here.

    Raises pydantic.ValidationError if the spec names no model, or a field is wrong.
    """
    return parse_component(_family, spec)(channels, targets)
