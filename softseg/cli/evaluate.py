"""`softseg eval`: a trained run scored, recalibrated, and asked how sure it is."""

from __future__ import annotations

from typing import Annotated, Literal, Optional

import typer

from softseg.cli.options import Sets, changes
from softseg.cli.predict import check_options
from softseg.core.console import open_console


def evaluate(
    run: Annotated[
        str | None, typer.Argument(help="A run's folder (default: the newest finished training).")
    ] = None,
    threshold_search: Annotated[
        bool,
        typer.Option("--threshold-search", help="Find the best threshold on training+validation."),
    ] = False,
    threshold: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Use this one.")] = None,
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="The set to score.")
    ] = "test",
    recalibrate: Annotated[
        Optional[Literal["temperature", "monotone", "volume"]],  # noqa: UP045 - as above
        typer.Option(help="Fit this on the validation set, and show before and after."),
    ] = None,
    uncertainty: Annotated[
        Optional[Literal["mc-dropout", "tta"]],  # noqa: UP045 - as above
        typer.Option(help="Hold this uncertainty against errors and raters."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Passes of --uncertainty (default: 20).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the passes of --uncertainty (default: 0).")
    ] = None,
    set_: Sets = None,
    device: Annotated[str | None, typer.Option(help="Where to compute, e.g. cuda:1.")] = None,
) -> None:
    """Score a trained run in the native space of each scan."""
    check_options(uncertainty, samples, seed, None)
    if threshold_search and threshold is not None:
        raise typer.BadParameter("--threshold-search and --threshold exclude each other")
    from softseg.evaluation import evaluate as evaluation
    from softseg.evaluation.recalibration import recalibrate as recalibration
    from softseg.runs import folder as runs

    console, found, sets = open_console(), runs.find_run(run), changes(set_, device)
    scored = evaluation.evaluate(
        found,
        console,
        search=threshold_search,
        threshold=threshold,
        split=split,
        sets=sets,
    )
    evaluation.show(found, scored, split, console)
    if recalibrate:
        effect = recalibration.recalibrate(found, recalibrate, console, split, sets, threshold)
        recalibration.show(found, recalibrate, effect, split, console)
    if uncertainty:
        from softseg.evaluation import uncertainty as uncertain_evaluation
        from softseg.inference.uncertainty.sampling import Sampling

        sampling = Sampling(uncertainty, samples or 20, seed or 0)
        judged = uncertain_evaluation.evaluate_uncertainty(
            found, sampling, console, split, sets, threshold
        )
        uncertain_evaluation.show(found, sampling, judged, split, console)
