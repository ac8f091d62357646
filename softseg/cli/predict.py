"""`softseg predict`: segment new scans with a trained model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from softseg.cli.options import Mirror, Overlay, Samples, Seed, Threshold
from softseg.core.console import open_console


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
        typer.Argument(help="Scans, folders, a BIDS dataset, or CONTRAST=FILE.", metavar="INPUT"),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the predictions.")],
    roi: Annotated[
        Path | None, typer.Option(help="ROI mask, or a folder of them, for a model that needs one.")
    ] = None,
    center: Annotated[
        str | None,
        typer.Option(metavar="I,J,K", help="Center voxel of the region, instead of an ROI mask."),
    ] = None,
    threshold: Threshold = None,
    frame: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Frame of a 4D scan, counted from 0.")
    ] = None,
    training_crop: Annotated[
        bool,
        typer.Option("--training-crop", help="Segment only the central crop used in training."),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Slices or windows per batch (default: what fits).")
    ] = None,
    mirror: Mirror = None,
    overlay: Overlay = False,
    uncertainty: Annotated[
        Literal["mc-dropout", "tta", "ensemble"] | None,
        typer.Option(help="Also write uncertainty maps and scores, by this method."),
    ] = None,
    samples: Samples = None,
    seed: Seed = None,
    candidate: Annotated[
        str | None, typer.Option(help="Candidate of the ablation whose runs form the ensemble.")
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Accept an ensemble in which planned runs are not finished."
        ),
    ] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="Also write one integer label map per scan.")
    ] = False,
    device: Annotated[str, typer.Option(help="Device to compute on, e.g. cuda:1.")] = "auto",
) -> None:
    """Segment new scans with a trained model."""
    check_options(uncertainty, samples, seed, candidate, allow_missing)
    from softseg.core.errors import combined_error
    from softseg.inference.model import open_ensemble, open_model, with_mirroring
    from softseg.inference.predict import Options, predict_scans
    from softseg.inference.roi import assign_rois
    from softseg.inference.scans import find_scans
    from softseg.inference.uncertainty.sampling import Sampling

    console, sampling, members = open_console(), None, ""
    if uncertainty == "ensemble":
        ensemble = open_ensemble(model, candidate, device, allow_missing)
        models, members = ensemble.models, ensemble.members
        warning = "warning: " if ensemble.has_problems else ""
        console.print(f"{warning}ensemble of {members}", highlight=False, markup=False)
    else:
        models = [open_model(model, device)]
        if uncertainty is not None:
            sampling = Sampling(uncertainty, samples or 20, seed or 0)
    models = [with_mirroring(opened, mirror) for opened in models]
    scans = [replace(scan, frame=frame) for scan in find_scans(inputs, models[0].contrasts)]
    assignment = assign_rois(models[0], scans, roi, center)
    options = Options(
        threshold, assignment.center, training_crop, batch_size, members, overlay, labels
    )
    done = predict_scans(models, assignment.scans, out, console, options, sampling)
    problems = [*assignment.problems, *done.problems]
    written = f"{len(done.written)} files" if done.written else "no predictions were written"
    console.print(f"{out}: {written}", highlight=False, markup=False)
    if problems:
        raise combined_error(f"{len(problems)} scan(s) could not be segmented:", problems)


def check_options(
    method: str | None,
    samples: int | None,
    seed: int | None,
    candidate: str | None,
    allow_missing: bool = False,
) -> None:
    """Raise BadParameter for options that this uncertainty method (None: none) does not use."""
    of_ensemble = {"--candidate": candidate, "--allow-missing": allow_missing or None}
    values = {"--samples": samples, "--seed": seed, **of_ensemble}
    used = {"ensemble": list(of_ensemble), None: []}.get(method, ["--samples", "--seed"])
    for option, value in values.items():
        if value is not None and option not in used:
            methods = "ensemble" if option in of_ensemble else "mc-dropout or tta"
            raise typer.BadParameter(f"{option} is for --uncertainty {methods}")
