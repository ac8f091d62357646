"""`softseg score`: scores of segmentations of any tool against the truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import AsJson
from softseg.core.console import open_console, print_json


def score(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of segmentations: soft maps, masks or label maps; several folders are "
            "compared.",
            metavar="PREDICTIONS...",
        ),
    ],
    truth: Annotated[
        list[Path],
        typer.Option(
            metavar="DIR|YAML",
            help="Folder of true masks (repeat it for several raters), YAML file with `dataset`, "
            "or a run's folder (its test set).",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="DIR", help="Folder of the tables and the report."),
    ] = Path("scores"),
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=CODE,..]",
            help="A structure in a folder of true masks, and its codes in label maps; repeatable.",
        ),
    ] = None,
    codes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CODE,..",
            help="The codes of a target in the label maps of PREDICTIONS; repeatable.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Binarization threshold of soft maps (default: the mask next to a map, or 0.5).",
        ),
    ] = None,
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Interpolate maps on other grids at the truth's voxels."),
    ] = False,
    cases: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="CSV or TSV with the columns case, prediction and truth, for files whose names "
            "do not match.",
        ),
    ] = None,
    painted: Annotated[
        bool,
        typer.Option(
            "--painted", help="Also write maps of true and false positives and false negatives."
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set a key: 'evaluate.lesions={}'; repeatable."
        ),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Score segmentations of any tool against a truth."""
    targets = dict(_named_codes("--target", text) for text in target or [])
    given = dict(_named_codes("--codes", text) for text in codes or [])
    for name, values in given.items():
        if not values:
            raise typer.BadParameter(f"--codes {name}: write NAME=CODE, such as {name}=1")
    from softseg.scoring.case_table import read_case_table
    from softseg.scoring.comparison import write_comparison
    from softseg.scoring.output import as_json, print_scores
    from softseg.scoring.score import ScoreOptions, score_folders
    from softseg.scoring.truth import read_truth

    console = open_console(to_stderr=json_)
    against = read_truth(truth, set_ or [], targets, cases)
    table = None if cases is None else read_case_table(cases)
    options = ScoreOptions(threshold, given, resample, table, painted)
    scored = score_folders(predictions, against, out, options, console)
    results = write_comparison(scored, against, out)
    print_scores(scored, against, results, out, console)
    if json_:
        print_json(as_json(scored, against))
    sys.exit(2 if any(each.problems for each in scored) else 0)


def _named_codes(option: str, text: str) -> tuple[str, list[float]]:
    """Return the name and the codes of `lesion=1,2`; no codes for `lesion`."""
    name, equals, values = text.partition("=")
    try:
        codes = [float(value) for value in values.split(",")] if equals else []
    except ValueError:
        raise typer.BadParameter(f"{option} {text}: codes are numbers, as in {name}=1,2") from None
    return name, [int(code) if code.is_integer() else code for code in codes]
