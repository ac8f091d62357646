"""Train softseg and its peers on the same scans for the same CPU time, and compare them."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd
from compare_budget import Calibration, Command, Usage, run_measured
from compare_figure import plot_times
from compare_monai import Ivadomed, Monai
from compare_nnunet import Nnunet2d, Nnunet3d
from compare_scores import score
from compare_sets import DATA_SETS, Fold, folds
from compare_softseg import Softseg2d, Softseg3d, SoftsegRecommended
from compare_systems import System
from compare_table import write

from softseg.core.errors import UserError
from softseg.core.files import read_json, write_json
from softseg.datasets.phantom import write_phantom

SYSTEMS = (Softseg2d, Softseg3d, SoftsegRecommended, Nnunet2d, Nnunet3d, Monai, Ivadomed)
NAMES = [system.name for system in SYSTEMS]
LONGER = 1.5  # ratio of the CPU times of two short trainings that are compared
LEAST_DIFFERENCE = 0.1  # of these times, as a fraction of the budget
ENOUGH_S = 30.0  # a difference that is enough for any budget
HELP_SETS = f"{', '.join(DATA_SETS)}; scans are below SOFTSEG_DATA, or data/"
HELP_OUT = "everything that is made, the tables in DIR/tables (runs/compare)"


def main(words: Sequence[str] | None = None) -> int:
    """Train, predict and score what is selected and not done yet; write the report."""
    options = parse(words)
    out = options.out.resolve()
    systems = [system(out / "environments") for system in SYSTEMS if system.name in options.systems]
    problems = []
    for name in options.sets:
        try:
            selected = folds(name, root_of(name, out), out)[: options.folds]
        except UserError as error:
            problems.append(f"{name}: {error}")
            continue
        for fold, system in itertools.product(selected, systems):
            try:
                run(system, fold, options.budget)
            except UserError as error:
                problems.append(f"{name}, fold {fold.number}, {system.name}: {error}")
            report(out)
    print(report(out))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2 if problems else 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; wrong ones end the program with status 2."""
    parser = argparse.ArgumentParser(
        prog="scripts/compare",
        description=f"{__doc__} What is done is not repeated, so that the same command resumes.",
    )
    add = parser.add_argument
    add("--budget", type=positive, default=5.0, metavar="MINUTES", help="CPU time of a training")
    add("--systems", type=listed(NAMES), default=NAMES, metavar="A,B", help=", ".join(NAMES))
    add("--sets", type=listed(DATA_SETS), default=[*DATA_SETS], metavar="A,B", help=HELP_SETS)
    add("--folds", type=positive_int, metavar="N", help="the first N folds of each set only")
    add("--out", type=Path, default=Path("runs/compare"), metavar="DIR", help=HELP_OUT)
    return parser.parse_args(words)


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and finite")
    return number


def positive_int(text: str) -> int:
    """Parse a whole number above 0."""
    return int(positive(str(int(text))))


def listed(names: Collection[str]) -> Callable[[str], list[str]]:
    """Return a parser of names, separated by commas, that must be among these."""

    def parser(text: str) -> list[str]:
        chosen = [word.strip() for word in text.split(",")]
        if unknown := [name for name in chosen if name not in names]:
            message = f"no {', '.join(unknown)}; choose from {', '.join(names)}"
            raise argparse.ArgumentTypeError(message)
        return chosen

    return parser


def root_of(name: str, out: Path) -> Path:
    """Return the folder of a dataset: below SOFTSEG_DATA or data/; a phantom is made."""
    data_set = DATA_SETS[name]
    if not data_set.is_phantom:
        return (Path(os.environ.get("SOFTSEG_DATA", "data")) / data_set.folder).resolve()
    root = out / "data" / data_set.folder
    if not root.exists():
        part = root.with_name(f"{root.name}.part")  # of a script that may have been stopped
        write_phantom(part, data_set.folder)
        part.rename(root)
    return root


def run(system: System, fold: Fold, minutes: float) -> None:
    """Train a system for a budget on one fold, predict and score its test scans.

    Every step that is done is in the folder and is not repeated. Raises UserError if one fails.
    """
    folder = fold.folder / f"{minutes:g}min" / system.name
    if (folder / "costs.json").exists():
        return
    skipped = fold.folder / "skipped" / f"{system.name}.json"
    if reason := system.reason_to_skip(fold):
        skipped.parent.mkdir(parents=True, exist_ok=True)
        write_json(skipped, {"set": fold.name, "system": system.name, "reason": reason})
        return
    skipped.unlink(missing_ok=True)
    system.prepare(fold)
    calibration = calibrate(system, fold, minutes)
    units = calibration.units(minutes)
    planned = calibration.minutes(units)
    print(f"{folder}: {units} {system.unit}, about {planned:.1f} core-minutes", flush=True)
    trained = measured(folder, "train", lambda: system.train(fold, folder, units))
    if command := system.finish(fold, folder):
        measured(folder, "finish", lambda: command)
    seconds, peak = predict(system, fold, folder)
    threshold = system.threshold(fold, folder)
    key = {"set": fold.name, "budget": minutes, "system": system.name, "fold": fold.number}
    predicted = partial(system.soft, fold, out=folder / "all")
    scores = score(fold, predicted, threshold, folder)
    scores.assign(**key, threshold=threshold).to_csv(folder / "scores.csv", index=False)
    costs = {
        **key,
        "units": units,
        "planned_minutes": planned,
        "core_minutes": trained.cpu_s / 60,
        "wall_minutes": trained.wall_s / 60,
        "peak_mb": trained.peak_mb,
        "seconds_per_scan": seconds,
        "peak_mb_prediction": peak,
        "lines": system.lines(fold),
    }
    write_json(folder / "costs.json", costs)


def calibrate(system: System, fold: Fold, minutes: float) -> Calibration:
    """Return the CPU time of a training of any length, from two short ones.

    The longer one is repeated at three times the length until it takes clearly longer: the first
    steps are slower than later ones, and a small difference would be mostly that.
    """
    difference_s = min(ENOUGH_S, LEAST_DIFFERENCE * 60 * minutes)

    def cpu_s(units: int) -> float:
        folder = fold.folder / "calibration" / system.name / str(units)
        return measured(folder, "train", lambda: system.train(fold, folder, units)).cpu_s

    short, long = system.calibration
    while cpu_s(long) < max(LONGER * cpu_s(short), cpu_s(short) + difference_s):
        long *= 3
    return Calibration.of((short, cpu_s(short)), (long, cpu_s(long)))


def predict(system: System, fold: Fold, folder: Path) -> tuple[float, float]:
    """Predict the test scans; return CPU seconds per scan and the peak memory in MB.

    The start of the program is not in the time per scan: it is in that of the first scan alone.
    """
    names = {"one": fold.sets.test[:1], "all": fold.sets.test}
    used = {
        part: measured(
            folder, f"predict-{part}", partial(system.predict, fold, folder, scans, folder / part)
        )
        for part, scans in names.items()
    }
    others = len(fold.sets.test) - 1
    seconds = (used["all"].cpu_s - used["one"].cpu_s) / others if others else float("nan")
    # less than the start of the program varies: below 0 by chance
    return max(seconds, 0.0), used["all"].peak_mb


def measured(folder: Path, step: str, command: Callable[[], Command]) -> Usage:
    """Run the command of a step, unless it was completed before; return what it used."""
    record = folder / f"{step}.json"
    if record.exists():
        return Usage(**read_json(record))
    used = run_measured(command(), folder / f"{step}.log")
    write_json(record, asdict(used))
    return used


def report(out: Path) -> str:
    """Write the tables of everything that is done in this folder; return the report."""
    order = {name: number for number, name in enumerate(NAMES)}
    records = [(path, read_json(path)) for path in out.glob("*/fold-*/*min/*/costs.json")]
    records.sort(key=lambda r: (r[1]["set"], r[1]["budget"], order[r[1]["system"]], r[1]["fold"]))
    tables = [pd.read_csv(path.with_name("scores.csv")) for path, _ in records]
    scores = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    costs = pd.DataFrame([record for _, record in records])
    skipped = [read_json(path) for path in sorted(out.glob("*/fold-*/skipped/*.json"))]
    text = write(out / "tables", scores, costs, pd.DataFrame(skipped).drop_duplicates())
    if records:
        plot_times(scores, costs, out / "tables")
    return text


if __name__ == "__main__":
    sys.exit(main())
