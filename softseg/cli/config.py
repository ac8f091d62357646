"""`softseg config`: show a configuration, or the schema of all configurations."""

from __future__ import annotations

from typing import Annotated

import typer

from softseg.cli.options import ConfigFile, Sets

app = typer.Typer(help="Show a configuration, or the schema of all.", no_args_is_help=True)


@app.command()
def show(config: ConfigFile, set_: Sets = None) -> None:
    """Print the resolved configuration with the meaning and default of every key."""
    from softseg.ablation.design import load_design
    from softseg.config.load import is_ablation, load_experiment, load_tree
    from softseg.config.show import show as render

    sets = set_ or []
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
