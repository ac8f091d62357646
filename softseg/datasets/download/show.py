"""A download on the console: what it is, how far it is, and how the data are read."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from softseg.data.loaders.layouts import LAYOUTS
from softseg.datasets.download.obtain import Obtained, obtain
from softseg.datasets.download.sources import Archive, ByRegistration, Loose


def show(source: Archive | Loose | ByRegistration, folder: Path, console: Console) -> None:
    """Download a data set and say under which license, what to cite and how it is read.

    For one that is given out after registration, only say where to ask and what goes where.
    Raises what `obtain` raises.
    """
    _say(console, source.title, f"license: {source.license}", f"cite: {source.citation}")
    if isinstance(source, ByRegistration):
        _say(console, *asking(source, folder))
        return
    obtained = _with_bar(source, folder, console)
    if obtained.fetched:
        _say(console, f"downloaded {_files(obtained.fetched)}: {obtained.root}")
    else:
        _say(console, f"all of it is there already: {obtained.root}")
    _say(console, *reading(source, obtained.root))


def asking(source: ByRegistration, folder: Path) -> list[str]:
    """How to come by a data set that cannot be downloaded, and where its files go, in lines."""
    layout = LAYOUTS[source.layout]
    return [
        "nothing was downloaded: its owners give it out after registration",
        layout.hint.format(root=folder),
        f"images: {folder / layout.image}",
        f"masks: {folder / layout.label}",
        f"dataset: {{loader: files, layout: {source.layout}}}, as in {_command(source, folder)}",
    ]


def reading(source: Archive | Loose, root: Path) -> list[str]:
    """How a downloaded data set is read, in lines."""
    if not source.dataset:
        return [f"read it with {_command(source, root)}"]
    lines = source.dataset.replace("{root}", root.as_posix()).rstrip().splitlines()
    return [f"read it with a YAML that extends {source.config} and says:", *lines]


def _command(source: Archive | Loose | ByRegistration, root: Path) -> str:
    return f"`softseg data check {source.config} --set dataset.root={root}`"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _with_bar(source: Archive | Loose, folder: Path, console: Console) -> Obtained:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
    moving = (DownloadColumn(), TransferSpeedColumn())
    hidden = not console.is_terminal
    with Progress(*columns, *moving, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=None)

        def progress(name: str, done: int, total: int | None) -> None:
            bar.update(task, description=Path(name).name, completed=done, total=total)

        return obtain(source, folder, progress)


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
