"""The `init_from` section: the weights that a training starts from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from softseg.core.component import Component


class InitFrom(Component):
    """Fine-tuning: training starts from the weights of another training."""

    model: Annotated[str, Field(min_length=1)]
    """A run's folder (the weights of its best epoch) or a `.softseg` package; relative to the
    working directory, or absolute."""
    frozen_blocks: Annotated[int, Field(ge=0)] = 0
    """How many blocks keep these weights, in the order data pass them: the encoder's, the bottom,
    the decoder's. They compute as in evaluation: batch norm with the statistics it came with, no
    dropout."""


def _unfold(spec: Any) -> Any:
    return {"model": spec} if isinstance(spec, str) else spec


InitFromOrText = Annotated[
    InitFrom, BeforeValidator(_unfold, json_schema_input_type=str | InitFrom)
]
"""`init_from: runs/x` is short for `init_from: {model: runs/x}`."""
