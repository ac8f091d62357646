"""The one base of everything a YAML can name: typed, documented, validated, frozen fields.

A component (a loader, step, head, loss, schedule) subclasses `Component`; the docstring under
a field is what `softseg config show` and the JSON Schema print; calling it does the work.
Families whose members carry a `name` (losses, heads) are plain discriminated unions; families
written as single-key mappings in a list (`- affine: {...}`) are made with `as_steps`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    WrapSerializer,
    WrapValidator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

T = TypeVar("T")


class Component(BaseModel):
    """A frozen mapping of a YAML: unknown keys are refused, nothing is silently converted."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


def check_distinct(values: T) -> T:
    """Return a field's value; raise ValueError if it is a list that names something twice.

    1 and "1" are the same, as both select the same group or label.
    """
    if isinstance(values, tuple):
        for index, value in enumerate(values):
            before = values[:index]
            if value in before or str(value) in map(str, before):
                raise ValueError(f"'{value}' is named twice")
    return values


def build_from(family: TypeAdapter[T], spec: Any) -> T:
    """Validate what a YAML holds against a family.

    Through JSON, so that strictness means the YAML's own types: a list may become a tuple, a
    string never becomes a number. Raises `pydantic.ValidationError` (a `ValueError`).
    """
    if isinstance(spec, Component):
        spec = spec.model_dump(mode="json")
    return family.validate_json(json.dumps(spec))


def _unfold(step: Any) -> Any:
    """`{"affine": {...}}` as a YAML writes a step -> `{"name": "affine", ...}`."""
    if isinstance(step, dict) and len(step) == 1 and "name" not in step:
        [(name, fields)] = step.items()
        if fields is None or isinstance(fields, dict):
            return {**(fields or {}), "name": name}
    return step


def _fold(step: Any, handler: Any) -> dict[str, Any]:
    """The way back, for `config.yaml` and `softseg config show`."""
    fields = handler(step)
    return {fields.pop("name"): fields}


class _FoldedSchema:
    """Rewrites the JSON Schema of a step family to the single-key form that a YAML holds."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        inner = handler(core)
        options = [handler.resolve_ref_schema(option) for option in inner.get("oneOf", [inner])]
        return {"oneOf": [folded for option in options for folded in _folded_options(option)]}


def _folded_options(schema: JsonSchemaValue) -> list[JsonSchemaValue]:
    """One single-key object for each name that a step's schema admits."""
    properties = dict(schema["properties"])
    name = properties.pop("name")
    names = name.get("enum") or [name["const"]]
    fields = {**schema, "properties": properties}
    fields["required"] = [key for key in schema.get("required", []) if key != "name"]
    return [
        {
            "type": "object",
            "properties": {n: fields},
            "required": [n],
            "additionalProperties": False,
        }
        for n in names
    ]


def as_steps(union: Any) -> Any:
    """The type of one step of a chain, for a union of components told apart by `name`."""
    family = Annotated[union, Field(discriminator="name")]
    adapter: TypeAdapter[Any] = TypeAdapter(family)

    def build(step: Any, handler: Any) -> Any:
        # pydantic hands a step over as Python data, where a strict tuple refuses a YAML's list
        return build_from(adapter, _unfold(step)) if isinstance(step, dict) else handler(step)

    return Annotated[family, WrapValidator(build), WrapSerializer(_fold), _FoldedSchema]
