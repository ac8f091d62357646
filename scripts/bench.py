"""Measure the rows of `scripts/bench`."""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench_augment import augmentation_against_peers
from bench_epoch import (
    epoch_against_bare_steps,
    mapped_against_memory,
    volumes_epoch_against_bare_steps,
)
from bench_feeding import epoch_against_fed_by_peers
from bench_gpu import epoch_on_a_gpu, trainings_at_once
from bench_losses import cost_of_losses
from bench_memory import memory_against_the_stack, volumes_memory_against_the_stack
from bench_nnunet import patches_against_nnunet, prediction_against_nnunet
from bench_parts import Row
from bench_precision import bf16_against_float32
from bench_predict import scoring_against_predicting
from bench_preprocess import preprocessing_against_torchio
from bench_start import start_of_the_command
from bench_steps import preset_against_peers, steps_against_peers
from rich.console import Console
from rich.table import Table
from throughput import two_jobs_against_one

Measure = Callable[[int], Row]
# each with a number of rounds; all rows together take about 30 minutes on 2 cores
ROWS: dict[str, tuple[Measure, int]] = {
    "epoch": (epoch_against_bare_steps, 2),
    "mapped": (mapped_against_memory, 1),
    "jobs": (lambda _: two_jobs_against_one(), 1),
    "augment": (augmentation_against_peers, 7),
    "steps": (steps_against_peers, 3),
    "preset": (preset_against_peers, 5),
    "peers": (epoch_against_fed_by_peers, 3),
    "preprocess": (preprocessing_against_torchio, 2),
    "predict": (scoring_against_predicting, 1),
    "start": (start_of_the_command, 7),
    "losses": (cost_of_losses, 5),
    "precision": (bf16_against_float32, 7),
    "gpu": (epoch_on_a_gpu, 3),
    "gpu_jobs": (trainings_at_once, 1),
    "memory": (memory_against_the_stack, 1),
    "epoch_3d": (volumes_epoch_against_bare_steps, 7),
    "memory_3d": (volumes_memory_against_the_stack, 1),
    "patches": (patches_against_nnunet, 11),
    "prediction": (prediction_against_nnunet, 4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument(
        "--csv", type=Path, help="also write the times of every round, of rows that have them"
    )
    parser.add_argument(
        "--rounds", type=int, help="repeats of each side, alternating (default: each row's own)"
    )
    parser.add_argument("--only", nargs="+", choices=list(ROWS), help="measure only these rows")
    options = parser.parse_args()
    rows = {
        name: timed(measure, options.rounds or rounds)
        for name, (measure, rounds) in ROWS.items()
        if options.only is None or name in options.only
    }
    times = {name: row.pop("times") for name, row in rows.items() if "times" in row}
    if options.csv:
        write_times(options.csv, times)
    if options.json:
        options.json.write_text(json.dumps(list(rows.values()), indent=2) + "\n")
    show(list(rows.values()))


def timed(measure: Measure, rounds: int) -> Row:
    """Return a row with the seconds that its measurement took."""
    start = time.perf_counter()
    row = measure(rounds)
    return row | {"took": round(time.perf_counter() - start, 1)}


def write_times(file: Path, times: Mapping[str, Any]) -> None:
    """Write name of a row -> work -> side -> [CPU time, wall time] of each round, as a table."""
    with file.open("w", newline="") as opened:
        table = csv.writer(opened, lineterminator="\n")
        table.writerow(["row", "work", "side", "round", "cpu_seconds", "wall_seconds"])
        for row, works in times.items():
            for work, sides in works.items():
                for side, rounds in sides.items():
                    for number, own in enumerate(rounds, start=1):
                        table.writerow([row, work, side, number, *(f"{s:.6f}" for s in own)])


def show(rows: list[Row]) -> None:
    table = Table("what", "value", "target", "met", "took [s]")
    for row in rows:
        value = "not measured" if row["value"] is None else f"{row['value']:.3f}"
        met = {True: "yes", False: "NO", None: "-"}[row["met"]]
        table.add_row(row["name"], value, row["target"], met, f"{row['took']:.0f}")
    console = Console()
    console.print(table)
    for row in rows:
        console.print({row["name"]: row["parts"]})


if __name__ == "__main__":
    main()
