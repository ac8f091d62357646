"""What was checked as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from softseg.data.check.checking import Checked
from softseg.data.check.findings import SEVERITIES, Finding, Severity
from softseg.data.check.summary import summary
from softseg.errors import UserError, several

SHOWN = 10
"""Findings of one kind that are listed."""


def as_lines(checked: Checked) -> list[str]:
    """What the files are like, a topic a line, then warnings and notes, grouped by kind.

    The errors, which `refusal` tells, are only counted.
    """
    told = [*_grouped(checked, "warning"), *_grouped(checked, "note")]
    return [*summary(checked), *told, _verdict(checked)]


def refusal(checked: Checked) -> UserError | None:
    """The errors as one, with at most 10 lines of a kind; None where there are none."""
    errors = checked.of("error")
    if not errors:
        return None
    heading = (
        f"{len(errors)} problem(s) in the data under {checked.root} "
        "(mend them, or leave subjects out by name with dataset.exclude):"
    )
    kinds: dict[str, list[str]] = {}
    for one in errors:
        kinds.setdefault(one.kind, []).append(str(one))
    return several(
        heading, [line for kind, lines in kinds.items() for line in _at_most(lines, kind)]
    )


def _grouped(checked: Checked, severity: Severity) -> list[str]:
    """A heading for each kind and what to do about it, and below it what it is about."""
    lines = []
    for (kind, do), those in _by_kind(checked.of(severity)).items():
        places = [str(one).removesuffix(f"; {do}") for one in those]
        shown = _at_most(places, kind)
        lines += [f"{severity}: {kind} ({len(those)}): {do}", *(f"  - {line}" for line in shown)]
    return lines


def _by_kind(findings: Iterable[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """Kind and what to do -> the findings."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for one in findings:
        kinds.setdefault((one.kind, one.do), []).append(one)
    return kinds


def _at_most(lines: Sequence[str], kind: str) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"and {more} more: {kind} (--json has all)"] if more > 0 else [])]


def _verdict(checked: Checked) -> str:
    counts = {severity: len(checked.of(severity)) for severity in SEVERITIES}
    told = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
    return ", ".join(told) if told else "no problem found"
