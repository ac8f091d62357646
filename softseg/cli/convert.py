"""`softseg convert`: import from and export to other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import Overwrite
from softseg.core.console import open_console

app = typer.Typer(help="Import images or configurations, or export a model.", no_args_is_help=True)


@app.command()
def ivadomed(
    file: Annotated[
        Path, typer.Argument(help="Configuration of ivadomed 2.2 or 2.9 (JSON).", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="YAML file to write.", metavar="FILE")],
    overwrite: Overwrite = False,
) -> None:
    """Convert an ivadomed configuration to a YAML file, with comments about every key."""
    from softseg.interop.from_ivadomed.convert import convert, show, write_config

    converted = convert(file)
    write_config(converted, file, out, overwrite)
    show(converted, out, open_console())


@app.command()
def nnunet(
    folder: Annotated[
        Path, typer.Argument(help="Raw folder of nnU-Net, with dataset.json.", metavar="FOLDER")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="YAML file to write.", metavar="FILE")],
    overwrite: Overwrite = False,
) -> None:
    """Write a YAML file to start with, from a data set of nnU-Net."""
    from softseg.interop.from_nnunet import convert_nnunet, show

    show(convert_nnunet(folder, out, overwrite), out, open_console())


@app.command()
def images(
    folder: Annotated[Path, typer.Argument(help="Folder of PNG or TIFF files.", metavar="FOLDER")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the NIfTI files.")],
    pixel: Annotated[
        str, typer.Option(metavar="X,Y", help="Size of a pixel in mm; one number if it is square.")
    ] = "1",
    overwrite: Overwrite = False,
) -> None:
    """Convert grayscale PNG and TIFF images and masks to NIfTI files of one slice."""
    from softseg.interop.from_images import convert_images, show

    sizes = pixel_sizes(pixel)
    show(convert_images(folder, out, sizes, overwrite), out, open_console())


def pixel_sizes(text: str) -> tuple[float, float]:
    """Return the size of a pixel along X and Y in mm. Raises BadParameter for anything else."""
    try:
        sizes = [float(size) for size in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or not all(1e-6 <= size <= 100 for size in sizes):
        raise typer.BadParameter(f"--pixel {text}: write one or two sizes in mm, such as 0.5,0.4")
    return sizes[0], sizes[-1]


@app.command("to-ivadomed")
def to_ivadomed(
    model: Annotated[
        Path, typer.Argument(help="The folder of a run, or a package.", metavar="MODEL")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder in which the model's folder is created.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Export a model for tools that read ivadomed's packages; print what is not preserved."""
    from softseg.interop.to_ivadomed import show
    from softseg.interop.to_ivadomed import to_ivadomed as export

    show(*export(model, out, overwrite), open_console())
