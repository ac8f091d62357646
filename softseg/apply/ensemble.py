"""The runs of one candidate of an ablation, opened as one model of several members."""

from __future__ import annotations

from pathlib import Path

from softseg.ablation.collect import Results, collect
from softseg.apply.model import Model, open_model
from softseg.errors import UserError


def open_ensemble(folder: Path, candidate: str | None = None, device: str = "auto") -> list[Model]:
    """Every finished run of a candidate: one network a split, each with its own threshold.

    Args:
        folder: an ablation's.
        candidate: whose runs; may be None where there is only one.
        device: where to compute.

    Raises UserError for another folder, where it is not clear which candidate, and for fewer than
    two finished runs.
    """
    if not (folder / "ablation.yaml").is_file():
        raise UserError(
            f"{folder} is no ablation: an ensemble is made of the runs of an ablation's folder; of "
            "one model, take --uncertainty mc-dropout or tta"
        )
    results = collect(folder)
    chosen = _candidate(results, candidate)
    done = results.done(chosen)
    if len(done) < 2:
        planned = sum(entry.candidate == chosen for entry in results.entries)
        raise UserError(
            f"{folder}: {len(done)} of {planned} runs of {chosen} are finished, an ensemble needs "
            "two; softseg ablate carries out the others"
        )
    return [open_model(entry.run.folder, device) for entry in done]


def _candidate(results: Results, wanted: str | None) -> str:
    there = results.candidates
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is None:
        raise UserError(
            f"--uncertainty ensemble: {results.name} has the candidates {', '.join(there)}; say "
            "which with --candidate"
        )
    if wanted not in there:
        raise UserError(f"--candidate: no candidate `{wanted}`; there are {', '.join(there)}")
    return wanted
