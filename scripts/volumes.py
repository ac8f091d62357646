"""Coverage of volume intervals, and atrophy that volumes detect: `scripts/reproduce measure`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.files import write_atomically
from softseg.data import read_split
from softseg.data.nifti.io import read_volume
from softseg.datasets.phantom.scanner import save_nifti
from softseg.datasets.phantom.scgm import SITES, Visit, make_subject
from softseg.measurement.scan_measures import slice_areas
from softseg.metrics.repeatability import repeatability
from softseg.runs.plan_file import RunStatus

Command = Callable[..., None]
KINDS = ("soft", "binary")
SCANS, TEST, VALIDATION, SPLITS = 340, 200, 100, 3
SUBJECTS, SEED = 100, 1  # of the repeated scans: other subjects than those of seed 0
ATROPHY = (1, 2, 5)  # percent of the gray matter
LEVEL, POWER = 0.9, 0.8
ABOUT = (
    f"**Synthetic** phantom (spinal cord, four sites). Two networks (Soft-ReLU-Wing and "
    f"Hard-Sig-Dice of `configs/phantom_ablation.yaml`: 8 filters, 0.5 mm in plane, 24 epochs) "
    f"were trained on {SCANS - TEST - VALIDATION} scans with the exact fraction of gray matter as "
    f"mask, calibrated on {VALIDATION} validation scans and tested on {TEST} others, in {SPLITS} "
    f"random splits. No result on it says anything about patients."
)


def write_visits(folder: Path) -> None:
    """Write two scans without a change and one for each atrophy of every subject, and the truth.

    `sub-<site><number>_ses-0_run-<1, 2>_T2star.nii.gz` and `..._ses-<percent>_T2star.nii.gz`;
    truth.csv has the exact volume of each.
    """
    rows = []
    for index in range(SUBJECTS):
        site, number = index % len(SITES) + 1, index // len(SITES) + 1
        scans = [("0_run-1", 0), ("0_run-2", 0), *((f"{percent}", percent) for percent in ATROPHY)]
        for visit, (session, percent) in enumerate(scans, start=1):
            subject = make_subject(site, number, SEED, Visit(visit, percent / 100))
            name = f"sub-{site}{number:02d}_ses-{session}_T2star"
            save_nifti(folder / f"{name}.nii.gz", subject.image, subject.affine)
            voxel_ml = abs(np.linalg.det(subject.affine[:3, :3])) / 1000
            rows.append({"scan": name, "truth_ml": subject.tissues.gray.sum() * voxel_ml})
    write_atomically(folder / "truth.csv", pd.DataFrame(rows).to_csv(index=False))


def coverage(entry: RunStatus, softseg: Command) -> Iterator[dict[str, object]]:
    """Yield how many test scans of a run have their true volume, and areas, in the intervals."""
    experiment, folder = load_config(entry.run.config, Experiment), entry.run.folder / "measured"
    tested = set(read_split(entry.run.split).test)
    subjects = [subject for subject in experiment.dataset() if subject.name in tested]
    if not (folder / "measures.csv").exists():
        images = [str(subject.first_image) for subject in subjects]
        softseg("predict", str(entry.run.folder), *images, "-o", str(folder))
        softseg("measure", str(folder), "--calibrate", str(entry.run.folder))
    scans = pd.read_csv(folder / "measures.csv").set_index("scan")
    slices = pd.read_csv(folder / "measures_slices.csv").set_index("scan")
    rows = []
    for subject in subjects:
        name = subject.first_image.name.removesuffix(".nii.gz")
        truth = read_volume(subject.labels["gm"][""] or "")
        volume = float(truth.data.sum(dtype=np.float64)) * truth.grid.voxel_ml
        areas, scan, own = slice_areas(truth.data, truth.grid, 2), scans.loc[name], slices.loc[name]
        for kind in KINDS:
            rows.append({
                "kind": kind,
                "error": scan[f"{kind}_ml"] - volume,
                "volume": scan[f"{kind}_low_ml"] <= volume <= scan[f"{kind}_high_ml"],
                "areas": (own[f"{kind}_low_mm2"] <= areas).all()
                and (areas <= own[f"{kind}_high_mm2"]).all(),
                "margin": scan[f"{kind}_high_ml"] - scan[f"{kind}_ml"],
                "truth": volume,
            })  # fmt: skip
    for kind, own in pd.DataFrame(rows).groupby("kind", sort=False):
        yield {
            "network": entry.candidate,
            "split": entry.split,
            "volume": kind,
            "scans": len(own),
            "coverage_volume": 100 * own["volume"].mean(),
            "coverage_areas": 100 * own["areas"].mean(),
            "margin_ml": own["margin"].iloc[0],
            "mean_error_ml": own["error"].mean(),
            "sd_error_ml": own["error"].std(),
            "mean_truth_ml": own["truth"].mean(),
        }


def detection(entry: RunStatus, visits: Path, softseg: Command) -> Iterator[dict[str, object]]:
    """Yield how well each kind of volume of a run detects each atrophy."""
    folder = entry.run.folder / "visits"
    if not (folder / "measures.csv").exists():
        softseg("predict", str(entry.run.folder), str(visits), "-o", str(folder))
        softseg("measure", str(folder))
    scans = pd.read_csv(folder / "measures.csv").set_index("scan")
    soft, binary = (by_person(scans[f"{kind}_ml"]) for kind in KINDS)
    ratio = dict(
        zip(("sdw_ratio", "ratio_low", "ratio_high"), sdw_ratio(soft, binary), strict=True)
    )
    for kind, wide in zip(KINDS, (soft, binary), strict=True):
        for row in detected(wide):
            yield {"network": entry.candidate, "volume": kind, **row, **ratio}


def by_person(volumes: pd.Series) -> pd.DataFrame:
    """Return 100 ln(volume), a row per person and a column per scan: `ses-0`, `repeat`, `ses-1`...

    `volumes` has the volume [ml] of each scan by its name. Differences are changes in percent.
    """
    person, session = (volumes.index.str.split("_").str[k] for k in (0, 1))
    scan = np.where(volumes.index.str.contains("_run-2"), "repeat", session)
    table = pd.DataFrame({"person": person, "scan": scan, "log": 100 * np.log(volumes.to_numpy())})
    return table.pivot(index="person", columns="scan", values="log")


def sdw_ratio(soft: pd.DataFrame, binary: pd.DataFrame) -> tuple[float, float, float]:
    """Return SDw of the soft / of the binary volume, with its 95 % interval (bootstrap)."""
    squares = [np.square(wide["ses-0"] - wide["repeat"]).to_numpy() for wide in (soft, binary)]
    rng, count = np.random.default_rng(0), len(soft)
    drawn = rng.integers(0, count, (10_000, count))
    ratios = np.sqrt(squares[0][drawn].sum(axis=1) / squares[1][drawn].sum(axis=1))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.sqrt(squares[0].sum() / squares[1].sum())), float(low), float(high)


def detected(wide: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield a row per atrophy, given what `by_person` returns."""
    result = repeatability(
        wide[["ses-0", "repeat"]].to_numpy().ravel(), list(np.repeat(wide.index, 2))
    )
    least = result.least_detectable_change
    for percent in (0, *ATROPHY):
        change = wide["ses-0"] - wide[f"ses-{percent}" if percent else "repeat"]
        is_detected = change > least if percent else change.abs() > least
        yield {
            "atrophy_percent": percent,
            "pairs": len(change),
            "sdw_percent": result.within_sd,
            "ldc_percent": least,
            "icc": result.icc,
            "mean_change": change.mean(),
            "sd_change": change.std(),
            "detected": 100 * is_detected.mean(),
            "subjects_needed": subjects_needed(change.mean(), change.std())
            if percent
            else math.nan,
        }


def subjects_needed(mean: float, sd: float) -> int:
    """Return the fewest subjects for a power of 80 % of a two-sided paired t-test at 5 %."""
    for n in range(2, 100_000):
        limit = stats.t.ppf(0.975, n - 1)
        if stats.nct.sf(limit, n - 1, abs(mean) / sd * math.sqrt(n)) >= POWER:
            return n
    raise ValueError(f"a mean change of {mean:.3g} is not detectable")


def expected_coverage() -> tuple[float, float, float, float]:
    """Return mean, standard deviation and the central 95 % of the coverage of a split [%]."""
    rank = math.ceil(round((VALIDATION + 1) * LEVEL, 9))
    covered = stats.betabinom(TEST, rank, VALIDATION + 1 - rank)
    values = covered.mean(), covered.std(), *covered.ppf([0.025, 0.975])
    mean, sd, low, high = (100 * float(value) / TEST for value in values)
    return mean, sd, low, high


def write(coverages: pd.DataFrame, detections: pd.DataFrame, folder: Path) -> None:
    """Write both tables as CSV files, and measure.md."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("coverage", coverages), ("detection", detections)):
        write_atomically(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
    lines = [ABOUT, "", *_coverage_lines(coverages), "", *_detection_lines(detections)]
    write_atomically(folder / "measure.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def _coverage_lines(coverages: pd.DataFrame) -> Iterator[str]:
    """Yield the table of the coverage: a row per network and kind of volume."""
    mean, sd, low, high = expected_coverage()
    yield (
        f"Coverage of 90 % intervals [%], mean of the splits (of each). Expected of a split: "
        f"{mean:.1f} ± {sd:.1f}, 95 % of the splits in {low:.1f} to {high:.1f} (beta-binomial)."
    )
    yield ""
    yield (
        "| network | volume | volumes covered | all areas of a scan covered | margin [ml] | "
        "error [ml], mean ± SD |"
    )
    yield "|---|---|---:|---:|---:|---:|"
    for (network, kind), own in coverages.groupby(["network", "volume"], sort=False):
        volumes, areas = (
            f"{own[column].mean():.1f} ({', '.join(f'{value:.1f}' for value in own[column])})"
            for column in ("coverage_volume", "coverage_areas")
        )
        error = f"{own['mean_error_ml'].mean():+.4f} ± {own['sd_error_ml'].mean():.4f}"
        margin = f"{own['margin_ml'].mean():.4f}"
        yield f"| {network} | {kind} | {volumes} | {areas} | {margin} | {error} |"
    yield ""
    yield f"Mean true volume: {coverages['mean_truth_ml'].mean():.3f} ml."


def _detection_lines(detections: pd.DataFrame) -> Iterator[str]:
    """Yield the table of the detected atrophy: a row per network and kind of volume."""
    header = "".join(f" {percent} % |" for percent in ATROPHY)
    yield (
        f"Atrophy of {', '.join(map(str, ATROPHY))} % in {SUBJECTS} subjects, segmented by the "
        "networks of the first split. Detected: share of the subjects with a change above the "
        "least detectable change (LDC) [%]; without a change, 5 % are expected. Subjects: needed "
        "to detect the mean change (paired t-test, power 80 %). Changes are 100 ln(V1 / V2): 5 % "
        "of atrophy are 5.1."
    )
    yield ""
    start = "| network | volume | SDw [%] | LDC [%] | detected: none |"
    measured = f"mean change at {ATROPHY[-1]} % |"
    yield f"{start}{header} {measured} subjects:{header}"
    yield "|---|---|" + "---:|" * (4 + 2 * len(ATROPHY))
    for (network, kind), own in detections.groupby(["network", "volume"], sort=False):
        rows = own.set_index("atrophy_percent")
        shares = " | ".join(f"{rows.loc[p, 'detected']:.0f}" for p in (0, *ATROPHY))
        needed = " | ".join(f"{rows.loc[p, 'subjects_needed']:.0f}" for p in ATROPHY)
        first = rows.iloc[0]
        yield (
            f"| {network} | {kind} | {first['sdw_percent']:.2f} | {first['ldc_percent']:.2f} | "
            f"{shares} | {rows.loc[ATROPHY[-1], 'mean_change']:.2f} | {needed} |"
        )
    yield ""
    yield "SDw of the soft volume / SDw of the binary volume (95 % bootstrap interval):"
    for network, own in detections.groupby("network", sort=False):
        ratio, low, high = own[["sdw_ratio", "ratio_low", "ratio_high"]].iloc[0]
        yield f"- {network}: {ratio:.2f} ({low:.2f} to {high:.2f})"
