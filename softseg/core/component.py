"""Base class of everything that a YAML file can name: typed, documented, validated, frozen fields.

A component (a loader, step, head, loss, schedule) subclasses `Component`; `softseg config show`
and the JSON Schema print the docstring under each field; calling the component does the work.
Families whose members carry a `name` (losses, heads) are plain discriminated unions; families
written as single-key mappings in a list (`- affine: {...}`) are annotated with `SingleKey`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

T = TypeVar("T")


class Component(BaseModel):
    """A frozen mapping in a YAML file: unknown keys are rejected, nothing is converted silently."""

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
    """Validate the content of a YAML file against a family of components.

    The content passes through JSON, so that strictness means YAML's own types: a list may
    become a tuple, a string never becomes a number. Raises `pydantic.ValidationError` (a
    `ValueError`).
    """
    if isinstance(spec, Component):
        spec = spec.model_dump(mode="json")
    return family.validate_json(json.dumps(spec))


class SingleKey:
    """Marks the union of a chain's steps, which a YAML file writes as `affine: {...}`.

    In `Annotated[Affine | Binarize, SingleKey]` the key is the `name` of a step, and may be
    without fields. The step's own mapping with a `name` is valid too.
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, union: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        family: Any = Annotated[union, Field(discriminator="name")]
        adapter: TypeAdapter[Any] = TypeAdapter(family)

        def validate(step: Any, as_component: Any) -> Any:
            if not isinstance(step, dict):
                return as_component(step)
            if len(step) == 1 and "name" not in step:
                [(name, fields)] = step.items()
                if fields is None or isinstance(fields, dict):
                    step = {**(fields or {}), "name": name}
            # pydantic passes a step as Python data, where a strict tuple rejects a YAML file's list
            return parse_component(adapter, step)

        def serialize(step: Any, as_fields: Any) -> dict[str, Any]:
            fields = as_fields(step)
            return {fields.pop("name"): fields}

        return core_schema.no_info_wrap_validator_function(
            validate,
            handler.generate_schema(family),
            serialization=core_schema.wrap_serializer_function_ser_schema(serialize),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        union = handler(core)
        members = [handler.resolve_ref_schema(member) for member in union.get("oneOf", [union])]
        return {"oneOf": [option for member in members for option in _single_key_options(member)]}


def _single_key_options(schema: JsonSchemaValue) -> list[JsonSchemaValue]:
    """Return one single-key object for each name that the schema of a step allows."""
    properties = dict(schema["properties"])
    name = properties.pop("name")
    fields = {**schema, "properties": properties}
    fields["required"] = [key for key in schema.get("required", []) if key != "name"]
    return [
        {
            "type": "object",
            "properties": {name: fields},
            "required": [name],
            "additionalProperties": False,
        }
        for name in name.get("enum") or [name["const"]]
    ]
