"""The `Example:` in the docstring of a component is valid YAML for it."""

from __future__ import annotations

import inspect
import re

import pytest
import yaml
from pydantic import TypeAdapter

import softseg.config.experiment  # noqa: F401 - defines all components
from softseg.core.component import Component, parse_component


def components(base=Component):
    for component in base.__subclasses__():
        if component.__module__.startswith("softseg."):
            yield component
            yield from components(component)


EXAMPLES = [
    pytest.param(component, match[1], id=component.__name__)
    for component in components()
    if (match := re.search(r"Example: `(.+?)`", inspect.getdoc(component) or "", re.DOTALL))
    and component.__doc__
]


@pytest.mark.parametrize(("component", "text"), EXAMPLES)
def test_the_example_in_a_docstring_is_valid(component, text):
    content = yaml.safe_load(text)
    if isinstance(content, list) or "soften" in content:  # one key, its name
        [step] = content if isinstance(content, list) else content.values()
        [(name, fields)] = step.items()
        spec = {"name": name, **fields}
    else:
        [spec] = content.values()
    assert isinstance(parse_component(TypeAdapter(component), spec), component)


def test_the_examples_are_found():
    assert {"Affine", "Combination", "Evaluate", "NormRelu", "Unet2d"} <= {p.id for p in EXAMPLES}
