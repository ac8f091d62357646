"""Download public datasets and print how to cite and to read them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar

from softseg.data.loaders.files import LAYOUTS
from softseg.datasets.download.download_missing import download_missing
from softseg.datasets.download.sources import ByRegistration, Source


def report_download(source: Source, folder: Path, console: Console) -> None:
    """Download a dataset and print its license, what to cite and how to read it.

    For one that requires registration, only print where to register and where its files go.
    Raises what `download_missing` raises.
    """
    _print(console, source.title, f"license: {source.license}", f"cite: {source.citation}")
    if isinstance(source, ByRegistration):
        layout = LAYOUTS[source.layout]
        _print(
            console,
            "nothing was downloaded: the owners of this dataset provide it after registration",
            layout.hint.format(root=folder),
            f"images: {folder / layout.image}",
            f"masks: {folder / layout.label}",
            f"dataset: {{loader: files, layout: {source.layout}}}, as in "
            f"{_check_command(source, folder)}",
        )
        return
    bar = ProgressBar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None)

        def progress(name: str, done: int, total: int | None) -> None:
            bar.update(task, description=Path(name).name, completed=done, total=total)

        root, downloaded = download_missing(source, folder, progress)
    if downloaded:
        files = "1 file" if downloaded == 1 else f"{downloaded} files"
        _print(console, f"downloaded {files}: {root}")
    else:
        _print(console, f"already complete: {root}")
    if source.dataset:
        section = source.dataset.replace("{root}", root.as_posix()).rstrip().splitlines()
        _print(
            console,
            "read it with a YAML file that contains:",
            f"extends: {source.config}",
            *section,
        )
    else:
        _print(console, f"read it with {_check_command(source, root)}")


def _check_command(source: Source, root: Path) -> str:
    return f"`softseg data check {source.config} --set dataset.root={root}`"


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
