"""The volume bias of trained losses and its closed form: `scripts/reproduce bias`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from bias_closed_form import Region, volume_bias
from bias_figure import plot_bias

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.files import write_atomically
from softseg.data import Subject, read_split
from softseg.data.nifti.io import read_volume
from softseg.inference.write import prediction_file
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.report.results import read_results
from softseg.runs.plan_file import RunStatus

LAYOUTS = ("uncertain1", "uncertain4")
SUBJECTS = 80
"""Of each layout: ten rounds of the eight probabilities."""
ABOUT = (
    "Synthetic phantoms `uncertain1` and `uncertain4`: 80 scans of 128 slices, 56 to train on, 8 "
    "to validate, 16 to test; K equal parts, each foreground with probability p, together as "
    "large as the certain region, whose volume is the unit. Networks of 4 filters, 6 epochs, one "
    "seed. Bias: mean predicted minus expected volume of the uncertain region in test scans and, "
    "in brackets, its closed form (after Bertels et al. 2021); hard: of predictions of 0.5 and "
    "above. drawn: the share of parts that was foreground in training. No result on it says "
    "anything about patients."
)
KEY = ["parts", "candidate", "probability"]


def measure(folders: Sequence[Path]) -> pd.DataFrame:
    """Return a row per K, candidate and p: the mean bias over test scans and splits, and its
    closed form.

    `folders` are those of finished ablations, with their predictions.
    """
    runs = [entry for folder in folders for entry in read_results(folder).done_runs()]
    rows = pd.DataFrame([row for entry in runs for row in of_run(entry)])
    groups = rows.groupby(KEY, sort=False)
    table = groups.mean(numeric_only=True).drop(columns="split")
    table.insert(0, "runs", groups["split"].nunique())
    return table.reset_index()


def of_run(entry: RunStatus) -> list[dict[str, object]]:
    """Return the bias in each test scan of one run, and its closed form."""
    experiment, sets = load_config(entry.run.config, Experiment), read_split(entry.run.split)
    subjects = {subject.name: subject for subject in experiment.dataset()}
    shares = foreground_shares([subjects[name] for name in sets.train])
    return [
        {
            "candidate": entry.candidate,
            "split": entry.split,
            **expected(entry.candidate, region_of(subjects[name])),
            **of_scan(subjects[name], entry.run.folder / "predictions"),
            "drawn": shares[region_of(subjects[name]).probability],
        }
        for name in sets.test
    ]


def expected(candidate: str, region: Region) -> dict[str, float]:
    """Return K and p of a region, and the closed form of a loss's bias there."""
    return {
        "parts": region.parts,
        "probability": region.probability,
        "soft_expected": volume_bias(candidate, region),
        "hard_expected": volume_bias(candidate, region, hard=True),
    }


def of_scan(subject: Subject, predictions: Path) -> dict[str, float]:
    """Return the bias of a scan's soft and hard volume, with the certain region as the unit.

    Also the mean prediction in the certain region and in the background, which should be 1 and 0.
    """
    [image] = subject.images.values()
    [target] = subject.labels
    soft = read_volume(prediction_file(predictions, image, target, "probseg")).data
    codes = read_volume(region_file(image)).data
    certain, uncertain = codes == 1, codes >= 2
    region, hard = region_of(subject), binarize(soft, TRUTH_THRESHOLD)
    true = region.probability * region.volume
    return {
        "soft_bias": float(soft[uncertain].sum(dtype=np.float64)) / certain.sum() - true,
        "hard_bias": float(hard[uncertain].sum()) / certain.sum() - true,
        "certain": float(soft[certain].mean(dtype=np.float64)),
        "background": float(soft[codes == 0].mean(dtype=np.float64)),
    }


def region_of(subject: Subject) -> Region:
    """Return the region of a scan from the phantom's table."""
    p, parts, volume = (subject.columns[k] for k in ("probability", "parts", "relative_volume"))
    return Region(float(p), int(parts), float(volume))


def region_file(image: Path) -> Path:
    """Return the region file of an image: 0 background, 1 certain, 2 and above uncertain."""
    return image.with_name(image.name.replace("-image", "-region"))


def foreground_shares(subjects: Sequence[Subject]) -> dict[float, float]:
    """Return p -> the share of the uncertain region that is foreground in these scans' masks."""
    shares: dict[float, list[float]] = {}
    for subject in subjects:
        [image], [masks] = subject.images.values(), subject.labels.values()
        [mask] = (read_volume(path).data for path in masks.values())
        inside = read_volume(region_file(image)).data >= 2
        p = region_of(subject).probability
        shares.setdefault(p, []).append(float(mask[inside].mean(dtype=np.float64)))
    return {p: float(np.mean(values)) for p, values in shares.items()}


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write `bias.csv`, `bias.md` and `bias.png` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "bias.csv", table.round(4).to_csv(index=False))
    lines = [ABOUT, "", *largest_differences(table), "", *every_row(table)]
    write_atomically(folder / "bias.md", "\n".join(lines) + "\n")
    plot_bias(table, folder / "bias.png")
    print("\n".join(lines))


def largest_differences(table: pd.DataFrame) -> list[str]:
    """Return the largest difference of measured bias and closed form per loss, as Markdown."""
    lines = [
        "| K | loss | largest soft bias | closed form | soft, largest difference | at p |",
        "|---|---|---|---|---|---|",
    ]
    for (parts, name), rows in table.groupby(["parts", "candidate"], sort=False):
        widest = rows.loc[rows["soft_bias"].abs().idxmax()]
        difference = (rows["soft_bias"] - rows["soft_expected"]).abs()
        lines.append(
            f"| {parts} | {name} | {widest.soft_bias:+.3f} | {widest.soft_expected:+.3f} "
            f"| {difference.max():.3f} | {rows.loc[difference.idxmax()].probability} |"
        )
    return lines


def every_row(table: pd.DataFrame) -> list[str]:
    """Return every measured bias with the closed form in brackets, as Markdown."""
    lines = ["| K | loss | p | drawn | soft bias | hard bias |", "|---|---|---|---|---|---|"]
    for row in table.itertuples():
        soft = f"{row.soft_bias:+.3f} ({row.soft_expected:+.3f})"
        hard = f"{row.hard_bias:+.3f} ({row.hard_expected:+.3f})"
        start = f"| {row.parts} | {row.candidate} | {row.probability} | {row.drawn:.3f} "
        lines.append(f"{start}| {soft} | {hard} |")
    return lines
