"""`softseg eval`: score, recalibrate and measure the uncertainty of a trained run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from softseg.cli.options import (
    AsJson,
    Device,
    Format,
    Mirror,
    Overlay,
    RunFolder,
    Samples,
    Seed,
    Threshold,
    changes,
    chosen_run,
)
from softseg.cli.predict import check_options
from softseg.core.console import open_console, print_json


def evaluate(
    run: RunFolder = None,
    threshold_search: Annotated[
        bool,
        typer.Option("--threshold-search", help="Find the best threshold, without the test set."),
    ] = False,
    threshold: Threshold = None,
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="The set to score.")
    ] = "test",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER",
            help="Score all subjects of another dataset: a YAML file with `dataset`, or a folder "
            "for the loader of the run.",
        ),
    ] = None,
    recalibrate: Annotated[
        Literal["temperature", "monotone", "volume"] | None,
        typer.Option(help="Fit a recalibration on the validation set; print its effect on scores."),
    ] = None,
    uncertainty: Annotated[
        Literal["mc-dropout", "tta"] | None,
        typer.Option(
            help="Evaluate this uncertainty method against errors and inter-rater disagreement."
        ),
    ] = None,
    samples: Samples = None,
    seed: Seed = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace results of a run that is part of an ablation."),
    ] = False,
    mirror: Mirror = None,
    overlay: Overlay = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set a key: 'evaluate.lesions={}'; repeatable."
        ),
    ] = None,
    device: Device = None,
    format: Format = "png",
    json_: AsJson = False,
) -> None:
    """Score a trained run in the native space of each scan."""
    check_options(uncertainty, samples, seed, None)
    if threshold_search and threshold is not None:
        raise typer.BadParameter("--threshold-search and --threshold cannot be combined")
    if data is not None and (threshold_search or split != "test" or recalibrate or uncertainty):
        raise typer.BadParameter(
            "--data scores other scans as they are: it cannot be combined with --threshold-search, "
            "--split, --recalibrate or --uncertainty"
        )
    from softseg.evaluation import evaluate as evaluation
    from softseg.evaluation.recalibration.recalibrate import recalibrate as fit_and_compare

    console, assignments = open_console(to_stderr=json_), changes(set_, device)
    if mirror is not None:
        assignments.append(f"evaluate.mirror={str(mirror).lower()}")
    trained = chosen_run(run, console)
    scored = evaluation.evaluate(
        trained,
        console,
        search=threshold_search,
        threshold=threshold,
        set_name=split,
        data=data,
        changes=assignments,
        overwrite=overwrite,
        form=format,
        overlay=overlay,
    )
    evaluation.print_evaluation(trained, scored, console)
    result = evaluation.as_json(trained, scored)
    if recalibrate:
        effect = fit_and_compare(trained, recalibrate, console, split, assignments, threshold)
        result["recalibration"] = effect.to_dict("records")
    if uncertainty:
        from softseg.evaluation.uncertainty import evaluate_uncertainty
        from softseg.inference.uncertainty.sampling import Sampling

        sampling = Sampling(uncertainty, samples or 20, seed or 0)
        scores = evaluate_uncertainty(
            trained, sampling, console, split, assignments, threshold, format
        )
        result["uncertainty"] = scores.to_dict("records")
    if json_:
        print_json(result)
