"""Fills README's table of GPU measurements from the results of `scripts/gpu_acceptance`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from environment import ROOT

from softseg.core.files import write_atomically

NOT_MEASURED = "not measured"
START = "| on a GPU, 64 filters, batches of 8 |"
Values = Mapping[str, Mapping[str, Any]]  # name of a check -> its values


def _epoch(values: Values) -> str:
    return f"{values['epoch-over-bare-steps']['ratio']:.2f}"


def _share(values: Values) -> str:
    return f"{100 * values['epoch-over-bare-steps']['share of that']:.0f} %"


def _step(values: Values) -> str:
    times = [
        f"{values[f'step/64-filters-batch-8-{variant}']['wall [ms]']:.1f}"
        for variant in ("float32", "tf32", "bf16")
    ]
    return f"{', '.join(times)} ms"


def _deterministic(values: Values) -> str:
    return f"{values['same-bits']['cost']:.2f} times"


def _share_of_idle(values: Values) -> str:
    """The gain of several trainings, relative to what the idle time of one allows."""
    gain = values["trainings-at-once/64-filters"]["largest gain"]
    return f"{100 * gain * values['step/64-filters-batch-8-bf16']['busy']:.0f} %"


def _at_once(filters: int) -> Callable[[Values], str]:
    def rates(values: Values) -> str:
        measured = values[f"trainings-at-once/{filters}-filters"]["epochs a second"]
        return ", ".join(f"{rate:.1f}" for rate in measured.values())

    return rates


def _hours(values: Values) -> str:
    return f"{values['hours-of-the-paper']['several at once [h]']:.2f} h"


ROWS: dict[str, tuple[Callable[[Values], str], str]] = {  # what -> (value, goal)
    "training part of an epoch / steps of the bare network, bf16": (_epoch, "1.10"),
    "a training step in float32, tf32 and bf16": (_step, ""),
    "rate of an epoch, as a share of that of a large bf16 matrix product": (_share, ""),
    "an epoch with `trainer.deterministic` / without": (_deterministic, ""),
    "epochs per second of 1, 2, 4 and 8 trainings at once": (_at_once(64), ""),
    "... with 8 filters": (_at_once(8), ""),
    "gain of several trainings / what a single one leaves idle": (_share_of_idle, "70 %"),
    "projected time of the paper's 200 SCGM trainings": (_hours, "1 h on an H200"),
}


def table(results: Mapping[str, Any] | None) -> list[str]:
    """Return the lines of the table; a value that was not measured says so."""
    checks = results["checks"] if results else {}
    values = {name: check.get("values", {}) for name, check in checks.items()}
    heading = results["device"] if results else "measured"
    lines = [f"{START} {heading} | goal |", "|---|---|---|"]
    for what, (value, goal) in ROWS.items():
        try:
            lines.append(f"| {what} | {value(values)} | {goal} |")
        except KeyError:  # the check was skipped or failed
            lines.append(f"| {what} | {NOT_MEASURED} | {goal} |")
    return lines


def fill(results: Path, root: Path = ROOT) -> Path:
    """Replace the table in README or in the manual by that of a file of results; return the page.

    Raises SystemExit if no page has such a table.
    """
    for page in (root / "README.md", *sorted(root.glob("docs/**/*.md"))):
        lines = page.read_text(encoding="utf-8").splitlines()
        first = [n for n, line in enumerate(lines) if line.startswith(START)]
        if first:
            filled = table(json.loads(results.read_text(encoding="utf-8")))
            lines[first[0] : first[0] + len(filled)] = filled
            write_atomically(page, "\n".join(lines) + "\n")
            return page
    raise SystemExit(f"neither README.md nor docs/ has a table that starts with `{START}`")
