"""Where a run's time went, by what it wrote down."""

from __future__ import annotations

from softseg.run import Run
from softseg.training.keeper import read_history


def seconds_by_stage(run: Run) -> dict[str, float]:
    """Stage -> seconds, over all sittings of a run."""
    history = read_history(run.folder)
    evaluation = float(run.facts().get("evaluation_seconds", 0.0))
    spent = {"training": 0.0, "validation": 0.0, "threshold search and scoring": evaluation}
    if not history.empty:
        spent["training"] = float(history["train_seconds"].sum())
        spent["validation"] = float(history["val_seconds"].sum())
    return spent
