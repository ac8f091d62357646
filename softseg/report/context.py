"""The data, splits and machine of the results in a report, and warnings about them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from softseg.core.files import read_json
from softseg.datasets.phantom import is_phantom
from softseg.report.comparisons import same_truth
from softseg.report.results import Results
from softseg.report.scoring import threshold_warnings
from softseg.report.tables import left_out
from softseg.runs.plan_file import CONVERGED_DICE, RunStatus


def report_context(results: Results) -> dict[str, str]:
    """Data, splits, seeds, software and machine, as text."""
    root = results.experiment.dataset.root
    metadata = [run.run.metadata() for run in results.done_runs()]
    synthetic = "SYNTHETIC (a phantom), " if is_phantom(Path(root)) else ""
    subjects = {name for of_run in metadata for name in of_run.get("data_fingerprint", {})}
    tested = results.metrics["subject"].nunique()
    seeds = sorted({int(of_run["seed"]) for of_run in metadata if "seed" in of_run})
    machines = [_describe_machine(of_run) for of_run in metadata]
    software = [
        ", ".join(f"{name} {version}" for name, version in of_run.get("versions", {}).items())
        for of_run in metadata
    ]
    commits = [of_run.get("git_commit") or "none (an installed package)" for of_run in metadata]
    finished = [str(of_run.get("done", of_run.get("finished", "–"))) for of_run in metadata]
    return {
        "data": f"{synthetic}{root}: {len(subjects)} subjects, {tested} of them in the test set "
        "of at least one split",
        "targets": ", ".join(results.targets),
        "splits": _describe_splits(results),
        "reference": results.reference,
        "seeds": _join_distinct(seeds),
        "machine": _join_distinct(machines),
        "software": _join_distinct(software),
        "commit": _join_distinct(commits),
        "finished": max(finished),
    }


def _describe_machine(metadata: dict[str, Any]) -> str:
    """Return `cuda:0 (NVIDIA H200), 8 threads`; the name of the device if it is recorded."""
    hardware = metadata.get("hardware", {})
    name = hardware.get("GPU", hardware.get("CPU"))
    device = f"{metadata.get('device')} ({name})" if name else f"{metadata.get('device')}"
    threads = metadata.get("threads")
    return f"{device}, {threads} thread{'s' * (threads != 1)}"


def report_warnings(results: Results) -> list[str]:
    """Warnings about the data, missing or failed runs, leaks, truths and sessions."""
    warnings = []
    if is_phantom(Path(results.experiment.dataset.root)):
        warnings.append("The data are SYNTHETIC: these figures say nothing about patients.")
    if failed := [run for run in results.runs if run.status == "failed"]:
        reasons = "; ".join(f"{run.name}: {run.reason.splitlines()[0]}" for run in failed)
        are = "is" if len(failed) == 1 else "are"
        warnings.append(f"{_count_runs(failed)} failed and {are} in no table. {reasons}")
    if missing := [run for run in results.runs if run.status in ("unfinished", "not begun")]:
        warnings.append(
            f"{_count_runs(missing)} not done yet: run `softseg ablate` again. The tables contain "
            "only the runs that are done."
        )
    if unconverged := [run for run in results.done_runs() if not run.converged]:
        warnings.append(
            f"{_count_runs(unconverged)} did not converge (best validation Dice below "
            f"{CONVERGED_DICE:.0f} %, or a target with an output of 0 everywhere at the end). They "
            "are in all tables nevertheless: "
            f"{_join_distinct(run.name for run in unconverged)}"
        )
    warnings += [
        f"{_count_runs(runs)}: {text}" for text, runs in _runs_by_text(results, "warnings").items()
    ]
    warnings += [*_leak_warnings(results), *_truth_warnings(results)]
    for target in results.targets:
        warnings += [f"{target}: {note}" for note in left_out(results, target)]
        warnings += threshold_warnings(results, target)
    scans, persons = (results.metrics[column].nunique() for column in ("subject", "person"))
    if persons < scans:
        warnings.append(
            f"The tests have {scans} scans of {persons} person{'s' * (persons != 1)}. Tables and "
            "tests by subject average the sessions of a person, who counts once."
        )
    return warnings


def _describe_splits(results: Results) -> str:
    """How many splits are planned, and whether the finished runs have the same sets on each."""
    count = str(len({run.split for run in results.runs}))
    recorded: dict[int, set[str]] = {}
    for run in results.done_runs():
        with suppress(OSError, ValueError):  # without a record, nothing is claimed
            sets = json.dumps(read_json(run.run.split), sort_keys=True)
            recorded.setdefault(run.split, set()).add(sets)
    if different := [str(split) for split, sets in recorded.items() if len(sets) > 1]:
        return f"{count}; the candidates have DIFFERENT SETS on split {', '.join(different)}"
    is_checked = len(results.scored_candidates) > 1 and recorded
    return f"{count}, with the same sets for all candidates" if is_checked else count


def _leak_warnings(results: Results) -> Iterator[str]:
    """Name leaks between sets, and runs that started from weights trained on their test scans."""
    leaking, unknown = [], []
    for run in results.done_runs():
        if start := run.run.metadata().get("init_from"):
            tested = start.get("test_subjects_it_was_trained_on")
            if tested is None:
                unknown.append(run)
            elif tested:
                leaking.append(run)
    if leaking:
        yield (
            f"{_count_runs(leaking)} started from weights (init_from) that were TRAINED ON SCANS "
            "OF THEIR TEST SETS, so their scores are too good: "
            f"{_join_distinct(run.name for run in leaking)}"
        )
    for leak, runs in _runs_by_text(results, "leaks").items():
        yield f"LEAK between the sets of {_count_runs(runs)}, so scores are too good: {leak}"
    if unknown:
        yield (
            f"{_count_runs(unknown)} started from weights (init_from) without a record of the "
            "scans they were trained on; make sure that none is tested: "
            f"{_join_distinct(run.name for run in unknown)}"
        )


def _runs_by_text(results: Results, key: str) -> dict[str, list[RunStatus]]:
    """Each text of a list in run.json, and the runs that have it."""
    runs: dict[str, list[RunStatus]] = {}
    for run in results.done_runs():
        for text in run.run.metadata().get(key, []):
            runs.setdefault(text, []).append(run)
    return runs


def _truth_warnings(results: Results) -> Iterator[str]:
    """Name candidates with another truth: they fuse raters differently, or take other labels."""
    for target in results.targets:
        rows = results.metrics[results.metrics["target"] == target]
        others = [
            name for name in results.candidates if not same_truth(rows, name, results.reference)
        ]
        if others:
            yield (
                f"{', '.join(others)} are scored against ANOTHER TRUTH of {target} than "
                f"{results.reference}, because they combine raters differently, use other "
                "labels or ignore other voxels: these scores cannot be compared and are not "
                "tested. Scores against the same raters can be compared, and are tested."
            )


def _count_runs(runs: Sequence[RunStatus]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def _join_distinct(values: Iterable[object]) -> str:
    return "; ".join(dict.fromkeys(map(str, values)))
