"""How the runs were scored: thresholds, postprocessing and the rules of metrics.

Everything is read from the folders of the runs, as a sentence that is always the same would be
wrong for some of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.core.files import read_json
from softseg.core.names import listing
from softseg.report.results import CandidateScores, Results
from softseg.runs.plan_file import RunStatus
from softseg.runs.thresholds import SEARCHED, Source, read_thresholds

_SOURCES: dict[Source, str] = {
    "searched": "Searched",
    "given": "Given when the run was evaluated, not searched",
    "default": "The default, as no threshold was searched for",
    "flat": "The default, as every threshold of the search has the same Dice",
}


@dataclass(frozen=True)
class UsedThreshold:
    """The threshold of one target in the scores of one run."""

    run: RunStatus
    value: float
    source: Source
    searched_on: tuple[str, ...]
    """The subjects of the search; () without one."""
    has_other_mirroring: bool = False
    """Whether only one of the search and the scores averages over mirror images."""

    @property
    def is_at_edge(self) -> bool:
        """Whether the search ended at its lowest or highest threshold."""
        return self.source == "searched" and self.value in (SEARCHED[0], SEARCHED[-1])


def used_thresholds(results: Results, target: str) -> list[UsedThreshold]:
    """The threshold of each run that is done and has scores of the target."""
    rows = results.metrics[results.metrics["target"] == target]
    values = rows.groupby(["candidate", "split"])["threshold"].first()
    return [
        _used_threshold(run, target, float(values[run.candidate, run.split]))
        for run in results.done_runs()
        if (run.candidate, run.split) in values
    ]


def _used_threshold(run: RunStatus, target: str, value: float) -> UsedThreshold:
    """The threshold of one run's scores, and where it comes from."""
    stored = (read_thresholds(run.run.threshold) or {}).get(target)
    source = run.run.metadata().get("scored_thresholds", {}).get(target)
    if source not in _SOURCES:  # runs that an earlier version evaluated
        if stored is not None and stored.used == value:
            source = "flat" if stored.value is None else "searched"
        else:
            source = "default" if stored is None and value == 0.5 else "given"
    subjects: list[Any] = []
    other_mirroring = False
    if source == "searched":
        mirrored = None if stored is None else stored.mirrored
        other_mirroring = mirrored not in (None, scored_section(run).get("mirror", False))
        with suppress(OSError, ValueError, KeyError):
            subjects = read_json(run.run.threshold)["subjects"]
    return UsedThreshold(run, value, source, tuple(map(str, subjects)), other_mirroring)


def threshold_sentences(results: Results, target: str) -> Iterator[str]:
    """Describe the thresholds of all candidates and what follows them, by sentences."""
    yield from _origin_sentences(results, used_thresholds(results, target))
    yield _postprocessing_sentence(results)
    mirrored = _by_candidate(results, ("mirror",))
    if True in mirrored:
        yield f"Logits were averaged over mirror images: {', '.join(mirrored[True])}."
    removed = _by_candidate(results, ("remove_small_from_truth",))
    if removed.keys() != {None}:
        rules = _describe(removed, "{}", "none")
        yield f"Small objects were removed from the truth before binary scores: {rules}."


def _origin_sentences(results: Results, used: Sequence[UsedThreshold]) -> Iterator[str]:
    """A sentence for each origin of thresholds that a candidate has."""
    for source, description in _SOURCES.items():
        of_source = [threshold for threshold in used if threshold.source == source]
        if not of_source:
            continue
        how = _describe_search(results, of_source) if source == "searched" else ""
        yield f"{description}{how}: {_list_values(results, of_source, used)}."


def threshold_warnings(results: Results, target: str) -> Iterator[str]:
    """Warn of mixed origins of thresholds, of one at the edge, and of test scans in a search."""
    used = used_thresholds(results, target)
    if len({threshold.source for threshold in used}) > 1:
        yield (
            f"The thresholds of {target} have different origins, so the binary scores of "
            "candidates differ by more than their predictions: "
            + " ".join(_origin_sentences(results, used))
        )
    if flat := [threshold.run.name for threshold in used if threshold.source == "flat"]:
        yield (
            f"Every threshold gives {target} the same Dice in {', '.join(flat)}, so the search "
            "found none and 0.5 was used; these runs may have learned nothing."
        )
    if edges := [one for one in used if one.is_at_edge]:
        names = ", ".join(f"{one.run.name} ({one.value:.2f})" for one in edges)
        yield (
            f"The threshold of {target} is at the edge of the search ({SEARCHED[0]:.2f} to "
            f"{SEARCHED[-1]:.2f}), so a better one may be beyond it: {names}."
        )
    if other := [threshold.run.name for threshold in used if threshold.has_other_mirroring]:
        yield (
            f"Only one of the threshold search and the scores of {target} averages over mirror "
            f"images in {', '.join(other)}: search again, as the scores are made."
        )
    if leaks := _tested_in_search(results, used):
        yield f"The threshold of {target} was searched on TEST SCANS: {listing(leaks)}."


def _describe_search(results: Results, used: Sequence[UsedThreshold]) -> str:
    """On how many scans thresholds were searched, and whether any of them was tested."""
    counts = sorted({len(threshold.searched_on) for threshold in used})
    if not counts[0]:
        return ""
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    tested = "SOME OF THEM TESTED" if _tested_in_search(results, used) else "none of them tested"
    return f" for each run on {number} scans, {tested}"


def _tested_in_search(results: Results, used: Sequence[UsedThreshold]) -> set[str]:
    """The subjects of a run's search that the same run tested."""
    tested = results.metrics.groupby(["candidate", "split"])["subject"].agg(set)
    return {
        subject
        for threshold in used
        for subject in tested[threshold.run.candidate, threshold.run.split]
        & set(threshold.searched_on)
    }


def _list_values(
    results: Results, used: Sequence[UsedThreshold], of_all: Sequence[UsedThreshold]
) -> str:
    """`Soft 0.35 to 0.45, Hard 0.50 (2 of 3 runs)`: the candidates with their values."""
    parts = []
    for name in results.candidates:
        values = sorted(one.value for one in used if one.run.candidate == name)
        if not values:
            continue
        span = f"{values[0]:.2f}"
        if values[-1] > values[0]:
            span += f" to {values[-1]:.2f}"
        total = sum(one.run.candidate == name for one in of_all)
        share = "" if len(values) == total else f" ({len(values)} of {total} runs)"
        parts.append(f"{name} {span}{share}")
    return ", ".join(parts)


def _postprocessing_sentence(results: Results) -> str:
    """The postprocessing of the predictions, per candidate if they differ."""
    steps: dict[Any, list[str]] = {}
    for run in results.done_runs():
        names = ", ".join(
            f"{name} (of the soft predictions, too)" if fields.get("apply_to") == "soft" else name
            for step in scored_section(run)["postprocess"]
            for name, fields in step.items()
        )
        own = steps.setdefault(names or None, [])
        own += [] if run.candidate in own else [run.candidate]
    search = "" if steps.keys() == {None} else " (a search is without it)"
    return f"Postprocessing of binary predictions: {_describe(steps, '{}', 'none')}{search}."


def scored_section(run: RunStatus) -> dict[str, Any]:
    """The section `evaluate` with which a run was scored: its own, or as `--set` changed it."""
    recorded = run.scored_evaluate
    if isinstance(recorded, dict) and "postprocess" in recorded:
        return recorded
    try:
        experiment = load_config(run.run.config, Experiment)
    except UserError:
        return {"postprocess": []}
    return experiment.evaluate.model_dump(mode="json")


def calibration_sentence(results: CandidateScores) -> str:
    """Near which distance to the truth calibration was measured, and over which scans."""
    margins = _by_candidate(results, ("metrics", "calibration_margin_mm"))
    is_measured = "ece" in results.metrics and results.metrics["ece"].notna().any()
    if margins.keys() == {None} or not is_measured:
        return "Errors of calibration were not measured (evaluate.metrics.calibration_margin_mm)."
    where = _describe(margins, "within {} mm of the truth", "not measured")
    return f"Errors of calibration: {where}, over the scans of the tables."


def lesion_sentence(results: CandidateScores) -> str:
    """The rules of lesion detection, as the runs were scored."""
    rules = _by_candidate(results, ("lesions",))
    return f"Rules (evaluate.lesions): {_describe(rules, '{}', 'none')}."


def _by_candidate(results: CandidateScores, keys: Sequence[str]) -> dict[Any, list[str]]:
    """Value of a key of `evaluate` -> the candidates that were scored with it."""
    found: dict[Any, list[str]] = {}
    for run in results.done_runs():
        value: Any = scored_section(run)
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):
            value = ", ".join(f"{name} {rule}" for name, rule in value.items())
        own = found.setdefault(value, [])
        own += [] if run.candidate in own else [run.candidate]
    return found


def _describe(values: dict[Any, list[str]], text: str, missing: str) -> str:
    """One text for all candidates, or one with the names of those that have it."""
    texts = {
        missing if value is None else text.format(value): names for value, names in values.items()
    }
    if len(texts) == 1:
        return next(iter(texts))
    return "; ".join(f"{', '.join(names)}: {described}" for described, names in texts.items())
