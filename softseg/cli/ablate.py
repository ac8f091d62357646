"""`softseg ablate`: train and evaluate the candidates of an ablation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import AblationFile, AsJson, Sets
from softseg.core.console import open_console, print_json


def ablate(
    config: AblationFile,
    set_: Sets = None,
    out: Annotated[
        Path | None, typer.Option(help="The ablation's folder (default: runs/<name>).")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only list the runs and their status; estimate the time.")
    ] = False,
    candidates: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these candidates.")
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(metavar="N", help="Only the first N splits, or a selection: 0,3-5."),
    ] = None,
    jobs: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Number of parallel runs on this machine; auto: measure what a run uses.",
        ),
    ] = "1",
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on Ray: auto, or ray://HOST:PORT.")
    ] = None,
    run_index: Annotated[
        int | None, typer.Option(metavar="K", help="Only run number K, as --plan counts them.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Train and evaluate every candidate on every split; skip runs that are already done."""
    from softseg.ablation.design import load_design
    from softseg.ablation.plan import make_plan, pick
    from softseg.ablation.run_plan import run_plan, show_plan
    from softseg.runs.plan_file import any_done

    count = _number_of_jobs(jobs)
    if sum((count != 1, cluster is not None, run_index is not None)) > 1:
        raise typer.BadParameter("--jobs, --cluster and --run-index cannot be combined")
    if json_ and not plan:
        raise typer.BadParameter("--json needs --plan; `softseg report --json` prints the scores")
    console, design = open_console(to_stderr=json_), load_design(config, set_ or [])
    folder = out or Path("runs") / design.ablation.name
    runs = make_plan(design, folder, console)
    selected = pick(runs, candidates, splits, run_index)
    if plan:
        content = show_plan(runs, selected, folder, console, count)
        if json_:
            print_json(content)
        return
    outcomes = run_plan(design, runs, selected, folder, console, count, cluster)
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    locked = sum(outcome.status == "locked" for outcome in outcomes)
    if failed:
        console.print(f"{failed} run(s) failed; fix the reported errors and rerun the command")
    if locked:
        console.print(
            f"{locked} run(s) skipped: locked by another process; rerun the command when it is done"
        )
    if run_index is None and any_done(folder):
        from softseg.report.report import show, write_report

        show(write_report(folder), folder, console)
    sys.exit(1 if failed or locked else 0)


def _number_of_jobs(text: str) -> int | None:
    """Return the value of --jobs; None: auto."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"--jobs: `{text}` is neither a number from 1 on nor auto")
    return int(text)
