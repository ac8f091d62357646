"""The rows of `scripts/bench`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from bench_epoch import epoch_against_bare_steps, mapped_against_memory
from bench_parts import Row
from rich.console import Console
from rich.table import Table
from throughput import two_jobs_against_one

ROWS: dict[str, Callable[[int], Row]] = {
    "epoch": epoch_against_bare_steps,
    "mapped": mapped_against_memory,
    "jobs": lambda _: two_jobs_against_one(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    parser.add_argument("--rounds", type=int, default=7, help="repeats of each side, alternating")
    parser.add_argument("--only", choices=list(ROWS), help="measure one row")
    options = parser.parse_args()
    rows = [
        measure(options.rounds) for name, measure in ROWS.items() if options.only in (None, name)
    ]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    show(rows)


def show(rows: list[Row]) -> None:
    table = Table("what", "value", "target", "met")
    for row in rows:
        value = "not measured" if row["value"] is None else f"{row['value']:.3f}"
        met = {True: "yes", False: "NO", None: "-"}[row["met"]]
        table.add_row(row["name"], value, row["target"], met)
    console = Console()
    console.print(table)
    for row in rows:
        console.print({row["name"]: row["parts"]})


if __name__ == "__main__":
    main()
