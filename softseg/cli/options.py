"""Arguments and options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:  # slow to import
    from rich.console import Console

    from softseg.runs.folder import Run


def find_config_file(context: typer.Context, config: Path | None) -> Path | None:
    """Return the file that CONFIG means, and print which one if CONFIG is a bare name."""
    if config is None or context.resilient_parsing:  # the latter: a shell completes the command
        return config
    from softseg.config.shipped import find_config, which_config
    from softseg.core.ranks import from_environment

    file = find_config(config)
    if (line := which_config(config, file)) and from_environment().first:
        print(line, file=sys.stderr)
    return file


def complete_name(incomplete: str) -> list[str]:
    """Return the names of softseg's configurations that start with what is typed."""
    from softseg.config.shipped import shipped_files

    return [name for name in shipped_files() if name.startswith(incomplete)]


def complete_config(incomplete: str) -> list[str]:
    """Return what CONFIG may be: names of softseg's configurations, YAML files, and folders."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    files = [
        f"{path}/" if path.is_dir() else str(path)
        for path in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if not path.name.startswith(".") and (path.is_dir() or path.suffix in (".yaml", ".yml"))
    ]
    matching = [file for file in files if file.startswith(incomplete)]
    return [*complete_name(incomplete), *matching]


def _config_argument(kind: str) -> Any:
    """Return the argument CONFIG of a command that takes an experiment or an ablation."""
    return typer.Argument(
        help=f"YAML file of {kind}, or the name of one of softseg's (`softseg config list`).",
        metavar="CONFIG",
        callback=find_config_file,
        autocompletion=complete_config,
    )


ConfigFile = Annotated[Path, _config_argument("an experiment")]
OptionalConfigFile = Annotated[Path | None, _config_argument("an experiment or an ablation")]
AblationFile = Annotated[Path, _config_argument("an ablation")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key: trainer.max_epochs=5; repeatable."),
]
Device = Annotated[str | None, typer.Option(help="Device to compute on, e.g. cuda:1 or cpu.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Binarization threshold in [0, 1] (default: that of the threshold search, or 0.5).",
    ),
]
Overlay = Annotated[
    bool,
    typer.Option(
        "--overlay", help="Also write a PNG of each scan: its prediction over the main slices."
    ),
]
Mirror = Annotated[
    bool | None,
    typer.Option(
        "--mirror/--no-mirror",
        help="Average over mirror images, along the axes that training flipped (default: as "
        "evaluate.mirror says).",
    ),
]
Samples = Annotated[
    int | None, typer.Option(min=2, help="Forward passes for --uncertainty (default: 20).")
]
Seed = Annotated[int | None, typer.Option(help="Random seed for --uncertainty (default: 0).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
RunFolder = Annotated[
    str | None,
    typer.Argument(
        help="A run's folder (default: the newest finished run in runs/ outside of ablations)."
    ),
]


Format = Annotated[
    Literal["png", "pdf", "svg"],
    typer.Option("--format", help="Also write figures as pdf or svg; PNG files have 300 dpi."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else to stdout.")
]


def chosen_run(name: str | None, console: Console) -> Run:
    """Return the run of a folder, or the newest one, and print which that is."""
    from softseg.runs.folder import find_run

    run = find_run(name)
    if name is None:
        text = f"{run.folder}: the newest finished run outside of ablations"
        console.print(text, highlight=False, markup=False)
    return run


def changes(set_: list[str] | None, device: str | None) -> list[str]:
    """Return all `key=value` changes of a command line; --device is one of them, and the last."""
    return [*(set_ or []), *([f"trainer.device={device}"] if device else [])]
