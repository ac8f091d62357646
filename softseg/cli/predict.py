"""`softseg predict`: a trained model applied to new scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from softseg.core.console import open_console

if TYPE_CHECKING:
    from softseg.inference.model import Model


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            help="A run's folder, a package, or an ablation's folder for an ensemble.",
            metavar="MODEL",
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(help="Scans, folders, a BIDS data set, or CONTRAST=FILE.", metavar="INPUT"),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the predictions.")],
    roi: Annotated[
        Path | None, typer.Option(help="ROI mask, or a folder of them, for a model that needs one.")
    ] = None,
    center: Annotated[
        str | None,
        typer.Option(metavar="I,J,K", help="Voxel in the middle of the box, instead of an ROI."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Use this one, not the model's.")
    ] = None,
    frame: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="This one of a 4D scan, from 0.")
    ] = None,
    training_crop: Annotated[
        bool,
        typer.Option("--training-crop", help="Look only at the crop in the middle of the image."),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Slices at once (default: what fits into memory).")
    ] = None,
    uncertainty: Annotated[
        Optional[Literal["mc-dropout", "tta", "ensemble"]],  # noqa: UP045 - typer needs it
        typer.Option(help="Write maps and scores of uncertainty, too."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Passes of mc-dropout and tta (default: 20).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of mc-dropout and tta (default: 0).")] = None,
    candidate: Annotated[
        str | None, typer.Option(help="Whose runs of the ablation are the ensemble.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute, e.g. cuda:1.")] = "auto",
) -> None:
    """Segment new scans with a trained model."""
    check_options(uncertainty, samples, seed, candidate)
    from softseg.core.errors import combined_error
    from softseg.inference.predict import Options, segment_all
    from softseg.inference.roi import place
    from softseg.inference.scans import find_scans

    console, members = open_console(), _members(model, uncertainty, candidate, device)
    opened = members[0]
    scans = [replace(scan, frame=frame) for scan in find_scans(inputs, opened.contrasts)]
    places = place(opened, scans, roi, center)
    options = Options(threshold, places.center, training_crop, batch_size)
    if uncertainty is None:
        done = segment_all(opened, places.scans, out, console, options)
    else:
        from softseg.inference.uncertainty.predict import segment_ensemble, segment_sampled
        from softseg.inference.uncertainty.sampling import Sampling

        if uncertainty == "ensemble":
            done = segment_ensemble(members, places.scans, out, console, options)
        else:
            sampling = Sampling(uncertainty, samples or 20, seed or 0)
            done = segment_sampled(opened, places.scans, out, console, options, sampling)
    problems = [*places.problems, *done.problems]
    console.print(f"{out}: {len(done.written)} files", highlight=False, markup=False)
    if problems:
        raise combined_error(f"{len(problems)} scan(s) could not be segmented:", problems)


def _members(model: Path, method: str | None, candidate: str | None, device: str) -> list[Model]:
    """The networks that predict: one, or those of an ensemble."""
    if method == "ensemble":
        from softseg.inference.ensemble import open_ensemble

        return open_ensemble(model, candidate, device)
    from softseg.inference.model import open_model

    return [open_model(model, device)]


def check_options(
    method: str | None, samples: int | None, seed: int | None, candidate: str | None
) -> None:
    """Refuse options that this way to measure uncertainty (None: none) would not look at."""
    given = {"--samples": samples, "--seed": seed, "--candidate": candidate}
    used = {"ensemble": ["--candidate"], None: []}.get(method, ["--samples", "--seed"])
    for option, value in given.items():
        if value is not None and option not in used:
            wanted = "ensemble" if option == "--candidate" else "mc-dropout or tta"
            raise typer.BadParameter(f"{option} is for --uncertainty {wanted}")
