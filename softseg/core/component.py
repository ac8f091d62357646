"""Base class of everything that a YAML can name: typed, documented, validated, frozen fields.

A component (a loader, step, head, loss, schedule) subclasses `Component`; `softseg config show`
and the JSON Schema print the docstring under each field; calling the component does the work.
Families whose members carry a `name` (losses, heads) are plain discriminated unions; families
written as single-key mappings in a list (`- affine: {...}`) are made with `single_key_union`.
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
    """A frozen mapping of a YAML: unknown keys are rejected, nothing is converted silently."""

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


def parse_component(family: TypeAdapter[T], spec: Any) -> T:
    """Validate the content of a YAML against a family of components.

    The content passes through JSON, so that strictness means the YAML's own types: a list may
    become a tuple, a string never becomes a number. Raises `pydantic.ValidationError` (a
    `ValueError`).
    """
    if isinstance(spec, Component):
        spec = spec.model_dump(mode="json")
    return family.validate_json(json.dumps(spec))


def single_key_union(union: Any) -> Any:
    """Return the type of one step of a chain, for a union of components distinguished by `name`.

    A YAML writes such a step as a single-key mapping, `affine: {...}`.
    """
    family = Annotated[union, Field(discriminator="name")]
    adapter: TypeAdapter[Any] = TypeAdapter(family)

    def validate(step: Any, handler: Any) -> Any:
        # pydantic passes a step as Python data, where a strict tuple rejects a YAML's list
        if isinstance(step, dict):
            return parse_component(adapter, _with_name(step))
        return handler(step)

    def serialize(step: Any, handler: Any) -> dict[str, Any]:
        fields = handler(step)
        return {fields.pop("name"): fields}

    return Annotated[family, WrapValidator(validate), WrapSerializer(serialize), SingleKeySchema]


def _with_name(step: dict[str, Any]) -> dict[str, Any]:
    """Convert `{"affine": {...}}`, as a YAML writes a step, to `{"name": "affine", ...}`."""
    if len(step) == 1 and "name" not in step:
        [(name, fields)] = step.items()
        if fields is None or isinstance(fields, dict):
            return {**(fields or {}), "name": name}
    return step


class SingleKeySchema:
    """Rewrites the JSON Schema of a family of steps to the single-key form of a YAML."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        union = handler(core)
        members = [handler.resolve_ref_schema(member) for member in union.get("oneOf", [union])]
        return {"oneOf": [option for member in members for option in _single_key_options(member)]}


def _single_key_options(schema: JsonSchemaValue) -> list[JsonSchemaValue]:
    """Return one single-key object for each name that the schema of a step allows."""
    properties = dict(schema["properties"])
    name = properties.pop("name")
    names = name.get("enum") or [name["const"]]
    fields = {**schema, "properties": properties}
    fields["required"] = [key for key in schema.get("required", []) if key != "name"]
    return [
        {
            "type": "object",
            "properties": {name: fields},
            "required": [name],
            "additionalProperties": False,
        }
        for name in names
    ]
