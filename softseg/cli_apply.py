"""`softseg predict`: a trained model applied to new scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softseg.cli_common import open_console


def predict(
    model: Annotated[Path, typer.Argument(help="A run's folder, or a package.", metavar="MODEL")],
    inputs: Annotated[
        list[str],
        typer.Argument(help="Scans, folders, a BIDS data set, or CONTRAST=FILE.", metavar="INPUT"),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the predictions.")],
    roi: Annotated[
        Path | None, typer.Option(help="ROI mask, or a folder of them, for a model that needs one.")
    ] = None,
    centre: Annotated[
        str | None,
        typer.Option(metavar="I,J,K", help="Voxel in the middle of the box, instead of an ROI."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Use this one, not the model's.")
    ] = None,
    only_crop: Annotated[
        bool, typer.Option("--only-crop", help="Look only at the crop in the middle of the image.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Slices at once (default: what fits into memory).")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute, e.g. cuda:1.")] = "auto",
) -> None:
    """Segment new scans with a trained model."""
    from softseg.apply.carry_out import Options, segment_all
    from softseg.apply.inputs import find_scans
    from softseg.apply.model import open_model
    from softseg.apply.roi import place
    from softseg.errors import several

    console = open_console()
    opened = open_model(model, device)
    places = place(opened, find_scans(inputs, opened.contrasts), roi, centre)
    options = Options(threshold, places.centre, only_crop, batch_size)
    done = segment_all(opened, places.scans, out, console, options)
    problems = [*places.problems, *done.problems]
    console.print(f"{out}: {len(done.written)} files", highlight=False, markup=False)
    if problems:
        raise several(f"{len(problems)} scan(s) could not be segmented:", problems)
