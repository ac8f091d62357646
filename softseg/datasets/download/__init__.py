"""Public data sets by name: `download` for programs, `download_and_report` for the console."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar

from softseg.core.errors import UserError
from softseg.data.loaders.layouts import LAYOUTS
from softseg.datasets.download.download_missing import download_missing
from softseg.datasets.download.sources import ByRegistration, Source, find_source, names
from softseg.datasets.download.transfer import Progress

__all__ = ["Progress", "download", "download_and_report", "names", "report_download"]


def download(name: str, folder: Path, progress: Progress = lambda *_: None) -> Path:
    """Download a public data set, or what is missing of it, and return its root.

    Args:
        name: one of `names()`.
        folder: where to write it; created if it does not exist. An archive's root is a folder
            in it.
        progress: called for every chunk with the file's name, its bytes so far, and their total
            if known.

    Raises UserError for an unknown name, for a data set that requires registration, and for
    whatever fails during the download (see `download_missing`); OSError if the disk is full.
    """
    source = find_source(name)
    if isinstance(source, ByRegistration):
        raise UserError(f"{name}: {'; '.join(_how_to_register(source, folder))}")
    return download_missing(source, folder, progress).root


def download_and_report(name: str, folder: Path, console: Console) -> None:
    """Run `softseg data download NAME DIR`: see `report_download`. Raises what `download` does."""
    report_download(find_source(name), folder, console)


def report_download(source: Source, folder: Path, console: Console) -> None:
    """Download a data set and print its license, what to cite and how to read it.

    For one that requires registration, only print where to register and where its files go.
    Raises what `download_missing` raises.
    """
    lines = [source.title, f"license: {source.license}", f"cite: {source.citation}"]
    if isinstance(source, ByRegistration):
        _print(console, *lines, *_how_to_register(source, folder))
        return
    _print(console, *lines)
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

        result = download_missing(source, folder, progress)
    if result.downloaded:
        files = "1 file" if result.downloaded == 1 else f"{result.downloaded} files"
        _print(console, f"downloaded {files}: {result.root}")
    else:
        _print(console, f"already complete: {result.root}")
    if source.dataset:
        section = source.dataset.replace("{root}", result.root.as_posix()).rstrip().splitlines()
        _print(console, f"read it with a YAML that extends {source.config} and contains:", *section)
    else:
        _print(console, f"read it with {_check_command(source, result.root)}")


def _how_to_register(source: ByRegistration, folder: Path) -> list[str]:
    """Return, in lines, how to get a data set that cannot be downloaded and where its files go."""
    layout = LAYOUTS[source.layout]
    return [
        "nothing was downloaded: the owners of this data set provide it after registration",
        layout.hint.format(root=folder),
        f"images: {folder / layout.image}",
        f"masks: {folder / layout.label}",
        f"dataset: {{loader: files, layout: {source.layout}}}, as in "
        f"{_check_command(source, folder)}",
    ]


def _check_command(source: Source, root: Path) -> str:
    return f"`softseg data check {source.config} --set dataset.root={root}`"


def _print(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
