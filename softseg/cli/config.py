"""`softseg config`: list, copy and show configurations, or print their schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from softseg.cli.options import OptionalConfigFile, Overwrite, Sets, complete_name
from softseg.core.console import open_console

app = typer.Typer(
    help="List, copy and show configurations, or print their schema.", no_args_is_help=True
)

_FAMILIES = (
    "loss",
    "head",
    "model",
    "augment",
    "preprocess",
    "postprocess",
    "loader",
    "soften",
    "optimizer",
    "schedule",
)
"""The options of `show` that explain components: families of `softseg.config.components`."""


@app.command("list")
def list_configs() -> None:
    """List the configurations that come with softseg: name, purpose and data."""
    from softseg.config.shipped import list_lines

    console = open_console()
    for line in list_lines(min(console.width, 100)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def copy(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a configuration that comes with softseg.",
            metavar="NAME",
            autocompletion=complete_name,
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to copy to.", metavar="DIR")] = Path(),
    overwrite: Overwrite = False,
) -> None:
    """Copy a configuration that comes with softseg, and those that it extends, to change it."""
    from softseg.config.copy import copy_config

    console = open_console()
    for file, is_new in copy_config(name, folder, overwrite).items():
        what = "wrote" if is_new else "already there, unchanged:"
        console.print(f"{what} {file}", highlight=False, markup=False)


class _NameOptional(TyperCommand):
    """Lets an option such as --loss stand without a name; its value is then ""."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add an empty name where an option that names a component has none."""
        options = {f"--{family}" for family in _FAMILIES}
        completed = []
        for index, word in enumerate(args):
            has_name = index + 1 < len(args) and not args[index + 1].startswith("-")
            completed += [word, ""] if word in options and not has_name else [word]
        return super().parse_args(ctx, completed)


def _component(what: str) -> Any:
    """Return the option that explains one component of a family, or lists the family."""
    return typer.Option(metavar="[NAME]", help=f"Explain {what}; without a name, list all.")


@app.command(cls=_NameOptional)
def show(
    config: OptionalConfigFile = None,
    set_: Sets = None,
    loss: Annotated[str | None, _component("a loss")] = None,
    head: Annotated[str | None, _component("a head")] = None,
    model: Annotated[str | None, _component("a network")] = None,
    augment: Annotated[str | None, _component("an augmentation step")] = None,
    preprocess: Annotated[str | None, _component("a preprocessing step")] = None,
    postprocess: Annotated[str | None, _component("a postprocessing step")] = None,
    loader: Annotated[str | None, _component("a loader of datasets")] = None,
    soften: Annotated[str | None, _component("a way to make masks soft")] = None,
    optimizer: Annotated[str | None, _component("an optimizer")] = None,
    schedule: Annotated[str | None, _component("a learning rate schedule")] = None,
) -> None:
    """Print a configuration with the meaning and default of every key, or explain components."""
    named = dict(
        zip(
            _FAMILIES,
            (
                loss,
                head,
                model,
                augment,
                preprocess,
                postprocess,
                loader,
                soften,
                optimizer,
                schedule,
            ),
            strict=True,
        )
    )
    named = {family: name for family, name in named.items() if name is not None}
    if (config is None) == (not named):
        raise typer.BadParameter("give either CONFIG, or options such as --loss NAME")
    if config is not None:
        _show_config(config, set_ or [])
        return
    from softseg.config.components import explain_component, list_components

    width = min(open_console().width, 100)
    texts = [
        explain_component(family, name) if name else list_components(family, width)
        for family, name in named.items()
    ]
    print("\n".join(texts), end="")


def _show_config(config: Path, sets: list[str]) -> None:
    """Print an experiment or an ablation with all its keys."""
    from softseg.ablation.design import load_design
    from softseg.config.load import is_ablation, load_experiment, load_tree
    from softseg.config.show import show as render

    if is_ablation(load_tree(config, sets)):
        print(render(load_design(config, sets).ablation), end="")
    else:
        print(render(load_experiment(config, sets)), end="")


@app.command()
def schema(
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Print the schema of an ablation instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of a configuration, for editors."""
    import json

    from softseg.ablation.design import Ablation
    from softseg.config.experiment import Experiment
    from softseg.config.show import schema as render

    print(json.dumps(render(Ablation if ablation else Experiment), indent=2))
