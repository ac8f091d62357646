"""What the results of an ablation hang on, and what nobody may miss about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softseg.data.synthetic import is_phantom
from softseg.report.pairing import same_truth
from softseg.report.results import Results
from softseg.runs.plan_file import CONVERGED_DICE


def facts(results: Results) -> dict[str, str]:
    """Data, splits, seeds, software and machine, as text."""
    experiment, known = results.experiment, [entry.run.metadata() for entry in results.done()]
    synthetic = "SYNTHETIC (a phantom), " if _synthetic(results) else ""
    subjects = {name for one in known for name in one.get("data_fingerprint", {})}
    tested = results.metrics["subject"].nunique()
    versions = [_versions(one.get("versions", {})) for one in known]
    return {
        "data": f"{synthetic}{experiment.dataset.root}: {len(subjects)} subjects, {tested} of them "
        "tested in one split or more",
        "targets": ", ".join(results.targets),
        "splits": f"{len({entry.split for entry in results.entries})}, the same for all candidates",
        "reference": results.reference,
        "seeds": _each(sorted({int(one["seed"]) for one in known if "seed" in one})),
        "machine": _each([f"{one.get('device')}, {one.get('threads')} threads" for one in known]),
        "software": _each(versions),
        "commit": _each([one.get("git_commit") or "none (an installed package)" for one in known]),
        "finished": max(str(one.get("done", one.get("finished", "–"))) for one in known),
    }


def warnings(results: Results) -> list[str]:
    """What a reader must know of the data, of runs that are missing or failed, and of truths."""
    found = []
    if _synthetic(results):
        found.append("The data are SYNTHETIC: these figures say nothing about patients.")
    if failed := [entry for entry in results.entries if entry.status == "failed"]:
        reasons = "; ".join(f"{e.name}: {e.reason.splitlines()[0]}" for e in failed)
        found.append(f"{_runs(failed)} failed and are in no table. {reasons}")
    if missing := [e for e in results.entries if e.status in ("unfinished", "not begun")]:
        found.append(
            f"{_runs(missing)} not done yet: call `softseg ablate` again. The tables hold the "
            "others only."
        )
    if lost := [entry for entry in results.done() if not entry.converged]:
        found.append(
            f"{_runs(lost)} did not converge (best validation Dice under {CONVERGED_DICE:.0f} %, "
            f"or a dead output at the end) and are in all tables: {_each([e.name for e in lost])}"
        )
    return [*found, *_leaks(results), *_unlike_truths(results), *_sessions(results)]


def _leaks(results: Results) -> Iterator[str]:
    """Runs that start from weights which have learned from their test scans, or may have."""
    starts = [(entry.name, entry.run.metadata().get("init_from")) for entry in results.done()]
    seen = [(name, one.get("test_subjects_it_was_trained_on")) for name, one in starts if one]
    if leaking := [name for name, tested in seen if tested]:
        yield (
            f"{_runs(leaking)} started from weights (init_from) that have LEARNED FROM SCANS THEY "
            f"ARE TESTED ON, so their scores are too good: {_each(leaking)}"
        )
    if unknown := [name for name, tested in seen if tested is None]:
        yield (
            f"{_runs(unknown)} started from weights (init_from) that do not tell which scans they "
            f"learned from; see that none is tested: {_each(unknown)}"
        )


def _unlike_truths(results: Results) -> Iterator[str]:
    """Candidates that fuse raters otherwise, or take other codes, have other masks as truth."""
    for target in results.targets:
        rows = results.metrics[results.metrics["target"] == target]
        others = [
            name for name in results.candidates if not same_truth(rows, name, results.reference)
        ]
        if others:
            yield (
                f"{', '.join(others)} are scored against ANOTHER TRUTH of {target} than "
                f"{results.reference}, as their raters or targets differ: their scores do not "
                "compare and are not tested. Scores against the same raters do, and are."
            )


def _sessions(results: Results) -> Iterator[str]:
    """Where the tested scans are sessions of fewer persons: what the tables take as a subject."""
    scans, persons = (results.metrics[column].nunique() for column in ("subject", "person"))
    if persons < scans:
        yield (
            f"The {scans} tested scans are sessions of {persons} persons. Tables and tests by "
            "subject average the sessions of a person, who counts once."
        )


def _runs(entries: list[Any]) -> str:
    return "1 run" if len(entries) == 1 else f"{len(entries)} runs"


def _synthetic(results: Results) -> bool:
    return is_phantom(Path(results.experiment.dataset.root))


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _each(answers: list[Any]) -> str:
    """Each different answer once."""
    return "; ".join(dict.fromkeys(str(answer) for answer in answers))
