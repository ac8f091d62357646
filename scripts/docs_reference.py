"""Hook of mkdocs: writes the reference of commands and of configuration keys from the package.

Both pages exist only in the built site, so they cannot differ from the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from softseg.ablation.design import Ablation
from softseg.cli.main import app
from softseg.config.experiment import Experiment
from softseg.config.messages.describe import choices, describe_types
from softseg.config.yaml.write import inline

Schema = dict[str, Any]
_TAGS = ("name", "loader")
"""Keys that choose among components: the heading of a component names them."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    pages = {
        "reference/command-line.md": command_line_page,
        "reference/configuration.md": configuration_page,
    }
    for path, page in pages.items():
        files.append(File.generated(config, path, content=page()))
    return files


def command_line_page() -> str:
    """Return the page of all subcommands with their arguments and options."""
    command = typer.main.get_command(app)
    parts = ["# Command line\n", "Exit statuses: see [Exit status](exit-status.md).\n"]
    return "\n".join([*parts, *_commands(command, "softseg")])


def _commands(command: Any, name: str) -> Iterator[str]:
    """Yield the sections of a command and of its subcommands."""
    subcommands = getattr(command, "commands", {})
    if not subcommands:
        yield f"## {name}\n"
        yield inspect.cleandoc(command.help or "") + "\n"
        usage = " ".join(word for p in command.params for word in _usage(p))
        yield f"```text\n{name} {usage}\n```\n"
        yield "| | |\n|---|---|"
        yield from (_parameter_row(p) for p in command.params if p.name != "help")
        yield ""
    for key, subcommand in subcommands.items():
        yield from _commands(subcommand, f"{name} {key}")


def _usage(parameter: Any) -> list[str]:
    """Return an argument as usage shows it, and one placeholder for all options."""
    if parameter.param_type_name == "option":
        return []
    name = (parameter.metavar or parameter.name).upper() + ("..." if parameter.nargs != 1 else "")
    return [name if parameter.required else f"[{name}]"]


def _parameter_row(parameter: Any) -> str:
    """Return the table row of an argument or option: its names and its help."""
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    else:
        value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
        spellings = [*parameter.opts, *parameter.secondary_opts]
        names = ", ".join(f"`{spelling}{value}`" for spelling in spellings)
    default = parameter.default
    shown = default not in (None, False, [], ()) and not callable(default)
    text = f"{_cell(parameter.help or '')}" + (f" Default: `{default}`." if shown else "")
    return f"| {names} | {text} |"


def configuration_page() -> str:
    """Return the page of all keys of an experiment, and of what an ablation adds to them."""
    experiment = Experiment.model_json_schema()
    ablation = Ablation.model_json_schema()
    own = {k: v for k, v in ablation["properties"].items() if k not in experiment["properties"]}
    writer = _ConfigurationWriter({**experiment["$defs"], **ablation["$defs"]})
    intro = (
        "# Configuration\n\nEvery key of a YAML file, generated from the code. `softseg config "
        "show FILE` prints the keys of your own file with the same text. A value of `null` for an "
        "inherited key removes it.\n"
    )
    sections = writer.sections(experiment["properties"], experiment.get("required", []))
    return "\n".join(
        [
            intro,
            *sections,
            "## Keys of an ablation\n",
            "An ablation has the keys of an experiment, which are its base, and these:\n",
            *writer.table(own, ablation.get("required", [])),
            *writer.pending(3),
        ]
    )


class _ConfigurationWriter:
    """Writes schemas as sections with tables, each component once, after its first mention."""

    def __init__(self, components: dict[str, Schema]) -> None:
        self.components = components
        self._waiting: list[str] = []
        self._written: set[str] = set()

    def sections(self, properties: Schema, required: list[str]) -> Iterator[str]:
        """Yield one section for each top-level key, followed by its components."""
        plain = {k: v for k, v in properties.items() if v.get("type") in ("string", "integer")}
        yield from self.table(plain, required)
        for key, node in properties.items():
            if key not in plain:
                yield f"## {key}\n"
                if "$ref" not in node or "discriminator" in node:
                    yield _prose(node.get("description", ""))
                yield from self._body(node)
                yield from self.pending(3)

    def _body(self, node: Schema) -> Iterator[str]:
        """Yield what a section holds: steps, the keys of one component, or links to several."""
        if "oneOf" in node.get("items", {}):
            yield from self._steps(node["items"]["oneOf"])
        elif "$ref" in node:
            yield from self._component(node["$ref"].rpartition("/")[2])
        else:
            yield self._links(node) + "\n"

    def _steps(self, steps: list[Schema]) -> Iterator[str]:
        """Yield a section for each step of a list; those of TorchIO share one, without keys."""
        from_torchio = []
        for step in steps:
            [(name, parameters)] = step["properties"].items()
            if parameters["title"] == "TorchioTransform":
                from_torchio.append((name, parameters))
                continue
            yield f"### {name}\n"
            yield _prose(parameters.get("description", ""))
            yield from self.table(parameters.get("properties", {}), parameters.get("required", []))
        if from_torchio:
            yield "### Transforms of TorchIO\n"
            yield ", ".join(f"`{name}`" for name, _ in from_torchio) + "\n"
            yield _prose(from_torchio[0][1]["description"])

    def pending(self, level: int) -> Iterator[str]:
        """Yield the components that were referred to and are not written yet."""
        while self._waiting:
            name = self._waiting.pop(0)
            if name in self._written:
                continue
            title = _title(name, self.components[name])
            yield f"{'#' * level} {title} {{ #{_anchor(name)} }}\n"
            yield from self._component(name)

    def _component(self, name: str) -> Iterator[str]:
        """Yield the description and the keys of a component."""
        self._written.add(name)
        schema = self.components[name]
        yield _prose(schema.get("description", ""))
        keys = {k: v for k, v in schema.get("properties", {}).items() if k not in _TAGS}
        yield from self.table(keys, schema.get("required", []))

    def table(self, properties: Schema, required: list[str]) -> Iterator[str]:
        """Yield a table of keys: value, default and meaning."""
        if not properties:
            return
        yield "| key | value | default | meaning |\n|---|---|---|---|"
        for key, node in properties.items():
            default = "required" if key in required else _default(node)
            meaning = _cell(node.get("description", ""))
            yield f"| `{key}` | {self._value(node)} | {default} | {meaning} |"
        yield ""

    def _value(self, node: Schema) -> str:
        """Return what a key takes: links to components, or the types with their bounds."""
        options = node.get("anyOf", node.get("oneOf", [node]))
        plain = [option for option in options if not any(self._references(option))]
        links = self._links(node)
        types = _cell(describe_types(plain, bounds=True)) if plain else ""
        return " or ".join(part for part in (links, types) if part)

    def _links(self, node: Schema) -> str:
        """Return links to all components in a schema."""
        names = list(dict.fromkeys(self._references(node)))
        self._waiting.extend(names)
        links = [f"[{_title(n, self.components[n])}](#{_anchor(n)})" for n in names]
        return ", ".join(links)

    def _references(self, node: Any) -> Iterator[str]:
        """Yield the names of the components that a schema refers to."""
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"].rpartition("/")[2]
            for key, value in node.items():
                if key not in ("default", "discriminator"):
                    yield from self._references(value)
        elif isinstance(node, list):
            for part in node:
                yield from self._references(part)


def _title(name: str, schema: Schema) -> str:
    """Return a component's heading: the value that selects it, else its name in words."""
    for tag in _TAGS:
        if values := choices(schema.get("properties", {}).get(tag, {})):
            return f"loader: {values[0]}" if tag == "loader" else str(values[0])
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name).lower()


def _default(node: Schema) -> str:
    """Return a default as YAML; defaults of sections are those of their keys."""
    if "default" not in node or isinstance(node["default"], dict):
        return ""
    return f"`{inline(node['default'])}`"


def _prose(text: str) -> str:
    """Return a docstring as paragraphs of Markdown."""
    return _escaped(text) + "\n"


def _cell(text: str) -> str:
    """Return text that fits into one cell of a table."""
    return _escaped(" ".join(text.split())).replace("|", r"\|")


def _escaped(text: str) -> str:
    """Return text in which nothing but code is markup."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;").replace("*", r"\*")
        for part in parts
    )
