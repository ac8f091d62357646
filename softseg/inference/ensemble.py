"""The finished runs of one candidate of an ablation, opened as the members of an ensemble."""

from __future__ import annotations

from pathlib import Path

from softseg.core.errors import UserError
from softseg.inference.model import Model, open_model
from softseg.runs.plan_file import CONFIG, read_plan


def open_ensemble(folder: Path, candidate: str | None = None, device: str = "auto") -> list[Model]:
    """Every finished run of a candidate: one network per split, each with its own threshold.

    Args:
        folder: an ablation's folder.
        candidate: whose runs; None if the ablation has only one candidate.
        device: where to compute.

    Raises UserError if the folder is not an ablation's, if the candidate is ambiguous or unknown,
    and if fewer than two of its runs are finished.
    """
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder} is not an ablation folder. --uncertainty ensemble needs one; for a single "
            "model use mc-dropout or tta."
        )
    entries = read_plan(folder)
    candidates = list(dict.fromkeys(entry.candidate for entry in entries))
    if candidate is None and len(candidates) > 1:
        raise UserError(
            f"--uncertainty ensemble: {folder} has the candidates {', '.join(candidates)}; choose "
            "one with --candidate"
        )
    if candidate is not None and candidate not in candidates:
        raise UserError(
            f"--candidate: no candidate `{candidate}`; candidates are {', '.join(candidates)}"
        )
    own = [entry for entry in entries if entry.candidate == (candidate or candidates[0])]
    done = [entry for entry in own if entry.status == "done"]
    if len(done) < 2:
        raise UserError(
            f"{folder}: {len(done)} of {len(own)} runs of {own[0].candidate} are finished, an "
            "ensemble needs two; softseg ablate runs the others"
        )
    return [open_model(entry.run.folder, device) for entry in done]
