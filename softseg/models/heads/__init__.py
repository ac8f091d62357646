"""Heads: logits (B, K, H, W) -> prediction in [0, 1], float32, of the same shape."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from torch import nn

from softseg.core.component import parse_component
from softseg.models.heads.normrelu import NormRelu, is_dead
from softseg.models.heads.sigmoid import Sigmoid

__all__ = ["Head", "NormRelu", "Sigmoid", "build", "is_dead"]

Head = Annotated[Sigmoid | NormRelu, Field(discriminator="name")]
_family: TypeAdapter[Sigmoid | NormRelu] = TypeAdapter(Head)


def build(spec: Any, targets: int = 1) -> nn.Module:
    """Build the head that a YAML's `head:` describes, a module to call on a model's logits.

    Args:
        spec: the content of the YAML, such as `{"name": "normrelu"}`.
        targets: the number K of outputs.

    Returns:
        A module taking logits (B, K, H, W) of any float type; it computes and returns float32
        (float64 stays float64), values in [0, 1].

    Raises:
        pydantic.ValidationError: the spec names no head, or a field is wrong.
    """
    return parse_component(_family, spec)(targets)
