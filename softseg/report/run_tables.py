"""The runs of a report: their status, and the epochs at which training ended."""

from __future__ import annotations

import math

import pandas as pd

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.render.text_table import Cell, TextTable
from softseg.report.results import Results
from softseg.runs.plan_file import RunStatus


def runs_table(results: Results) -> TextTable:
    """The status of every planned run."""
    header = ("run", "status", "epochs", "best\nepoch", "best validation\nDice [%]", "converged")
    rows = []
    for run in results.runs:
        done = run.status == "done"
        dice = math.nan if run.history.empty else float(run.history["val_dice"].max())
        reason = f": {run.reason.splitlines()[0]}" if run.reason else ""
        converged = "–" if not done else "yes" if run.converged else "NO"
        rows.append(
            (
                Cell(run.name),
                Cell(f"{run.status}{reason}", bold=run.status == "failed"),
                Cell(str(len(run.history))),
                Cell(str(run.run.metadata().get("best_epoch", "–"))),
                Cell("–" if math.isnan(dice) else f"{dice:.1f}"),
                Cell(converged, bold=done and not run.converged),
            )
        )
    note = (
        "Converged: the best validation Dice reached 10 %, and no target had an output of 0 "
        "everywhere at the end."
    )
    return TextTable("runs", "All planned runs", header, tuple(rows), (note,))


_ENDS = {
    "early": "ended by early\nstopping",
    "max": "reached\nmax_epochs",
    "interrupted": "interrupted",
}
"""Reason why a training ended -> heading of the column that counts it."""


def epochs_table(results: Results) -> TextTable:
    """At which epoch the runs of each candidate ended, and why (Gros et al. 2020, section 3.1)."""
    runs = {
        name: [run for run in results.done_runs(name) if len(run.history)]
        for name in results.scored_candidates
    }
    ends = {name: [_end_of_training(run) for run in of_name] for name, of_name in runs.items()}
    reasons = [
        end for end in _ENDS if end != "interrupted" or any(end in of for of in ends.values())
    ]
    rows = []
    for name, of_name in runs.items():
        last = pd.Series([len(run.history) for run in of_name], dtype=float)
        best = [run.run.metadata().get("best_epoch", math.nan) for run in of_name]
        texts = (
            *(name, str(len(of_name)), _mean(last), _span(last)),
            *(str(ends[name].count(reason)) for reason in reasons),
            _mean(pd.Series(best, dtype=float)),
        )
        rows.append(tuple(map(Cell, texts)))
    headings = [_ENDS[reason] for reason in reasons]
    lower_bound = (
        "Early stopping might have ended a run that reached max_epochs later, so a mean with such "
        "runs is a lower bound."
    )
    is_bound = any("max" in of for of in ends.values())
    return TextTable(
        name="epochs",
        title="Epochs at which training ended",
        header=("candidate", "runs", "last epoch", "lowest\nto highest", *headings, "best epoch"),
        rows=tuple(rows),
        notes=(
            "Mean ± standard deviation over the finished runs. The scored weights are those of the "
            "best epoch, with the lowest validation loss.",
            *([lower_bound] if is_bound else []),
        ),
    )


def _end_of_training(run: RunStatus) -> str:
    """Why the training of a run that is done ended, a key of `_ENDS`."""
    max_epochs = load_config(run.run.config, Experiment).trainer.max_epochs
    if len(run.history) >= max_epochs:
        return "max"
    return "early" if run.run.metadata().get("status") == "finished" else "interrupted"


def _mean(values: pd.Series[float]) -> str:
    """`123.4 ± 5.6`, without a deviation for a single run."""
    spread = "" if values.count() < 2 else f" ± {values.std():.1f}"
    return "–" if values.isna().all() else f"{values.mean():.1f}{spread}"


def _span(values: pd.Series[float]) -> str:
    """`90 to 150`, or `90` if all are the same."""
    low, high = values.min(), values.max()
    return "–" if values.empty else f"{low:.0f}" + (f" to {high:.0f}" if high > low else "")
