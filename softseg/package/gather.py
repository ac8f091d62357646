"""What a run's folder tells of its training that may leave with the model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from softseg.config.experiment import Experiment
from softseg.core.component import parse_component
from softseg.core.errors import UserError
from softseg.core.files import read_json
from softseg.data import Sets
from softseg.data.splits import SETS
from softseg.data.synthetic import is_phantom
from softseg.package.about import About, Credits
from softseg.package.neutral import how_fused
from softseg.package.read import asks_for_roi
from softseg.runs.folder import Run

_NAMES_A_RATER = "dice_rater_"


def about(run: Run, experiment: Experiment, sets: Sets, epoch: int, credits_: Credits) -> About:
    """All that is known of a run's best weights. Raises UserError for damaged tables."""
    facts, dataset = run.metadata(), experiment.dataset
    steps = experiment.evaluate.steps
    scored = facts.get("scored_epoch", epoch) == epoch  # or evaluated, then resumed
    scored &= facts.get("scored_postprocess", steps) == steps  # or evaluated with --set
    known = {
        **credits_.model_dump(mode="json"),
        "name": experiment.name,
        "contrasts": dataset.contrasts,
        "targets": list(dataset.targets),
        "needs_roi": asks_for_roi(experiment),
        "epoch": epoch,
        "status": str(facts.get("status", "unknown")),
        "created": facts.get("finished"),
        "trained_with": facts.get("versions", {}),
        "fingerprint": fingerprint(facts.get("data_fingerprint", {}), sets),
        "summary": {
            "subjects": {name: len(getattr(sets, name)) for name in SETS},
            "synthetic": _is_synthetic(dataset.root),
            "raters": how_fused(dataset.raters),
        },
        "scores": _scores(run, list(dataset.targets)) if scored else {},
        "scored_at": _scored_at(run) if scored else {},
        "native_zooms_mm": facts.get("native_zooms_mm"),
    }
    try:
        return parse_component(TypeAdapter(About), known)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{run.folder} cannot be packaged: {place}: {first['msg']}; correct it, or evaluate or "
            "train the run again"
        ) from error


def fingerprint(data: Mapping[str, str], sets: Sets) -> str | None:
    """SHA-256 over the fingerprints of the sets' subjects, sorted; None where one has none.

    Whoever preprocesses the same files alike finds the same; names are not in it, so they cannot be
    guessed.
    """
    digests = sorted(data[name] for name in sets.members if name in data)
    if len(digests) < len(sets.members):
        return None
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _is_synthetic(root: str) -> bool | None:
    folder = Path(root).expanduser()
    return is_phantom(folder) if folder.is_dir() else None


def _scores(run: Run, targets: list[str]) -> dict[str, Any]:
    """summary.json of the test set, without those metrics that name a rater."""
    path = run.folder / "summary.json"
    try:
        known = read_json(path)
        return {
            target: {
                metric: {key: _finite(value) for key, value in moments.items()}
                for metric, moments in known[target].items()
                if not metric.startswith(_NAMES_A_RATER)
            }
            for target in targets
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); run eval again") from error


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scored_at(run: Run) -> dict[str, float]:
    """Target -> the threshold that metrics.csv was made with."""
    path = run.folder / "metrics.csv"
    try:
        table = pd.read_csv(path, usecols=["target", "threshold"], dtype={"target": str})
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); run eval again") from error
    return {str(t): float(v) for t, v in table.groupby("target")["threshold"].first().items()}
