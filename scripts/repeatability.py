"""How well gray matter volumes of repeated scans agree: `scripts/reproduce repeatability`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.files import write_atomically
from softseg.data import read_split
from softseg.report.results import read_results
from softseg.runs.plan_file import RunStatus

RUNS = ("run-1", "run-2")
AGREEMENT = ("sdw_ml", "sdw_percent", "ldc_ml", "ldc_percent", "icc")
ABOUT = (
    "Gray matter volume [ml] of two scans of one session (`run-1`, `run-2`), segmented by networks "
    "that were trained on `run-1` of persons of other centers (Soft-ReLU-Wing of "
    "`configs/spinal_gm_ablation.yaml`, 8 filters, six persons in all). The box is around the "
    "cord mask of `run-1` for both. Difference: 200 |V1 - V2| / (V1 + V2) [%]. Soft: the sum of "
    "the soft values; binary: of voxels from the searched threshold on. SDw: within-subject "
    "standard deviation; LDC: least detectable change, 1.96 sqrt(2) SDw. Six persons are a "
    "demonstration, not a study."
)


def measure(folder: Path, softseg: Callable[..., None]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the volumes of both runs of each session, and what `softseg measure` makes of them.

    Args:
        folder: of a finished ablation.
        softseg: runs the command with these arguments.

    The first table has a row per session with the difference of both runs, the second is
    `measures_repeatability.csv`.
    """
    out = folder / "measured"
    for entry in read_results(folder).done_runs():
        for image, roi in scans_of(entry):
            softseg("predict", str(entry.run.folder), str(image), "--roi", str(roi), "-o", str(out))
    softseg("measure", str(out))
    scans = pd.read_csv(out / "measures.csv")
    parts = scans["scan"].str.split("_run-")  # sub-01_ses-01_run-1_T2star
    scans["session"], scans["run"] = parts.str[0], "run-" + parts.str[1].str[0]
    wide = scans.pivot(index="session", columns="run", values=["soft_ml", "binary_ml"])
    table = pd.DataFrame({"session": wide.index}, index=wide.index)
    for kind in ("soft", "binary"):
        first, second = (wide[f"{kind}_ml", run] for run in RUNS)
        table[f"{kind}_run-1_ml"], table[f"{kind}_run-2_ml"] = first, second
        table[f"{kind}_difference"] = 200 * (first - second).abs() / (first + second)
    return table.reset_index(drop=True), pd.read_csv(out / "measures_repeatability.csv")


def scans_of(entry: RunStatus) -> Iterator[tuple[Path, Path]]:
    """Yield both scans of each session that a run was tested on, with the cord mask of run-1."""
    experiment = load_config(entry.run.config, Experiment)
    subjects = {subject.name: subject for subject in experiment.dataset()}
    for name in read_split(entry.run.split).test:
        [first], roi = subjects[name].images.values(), subjects[name].roi
        assert roi is not None
        for run in RUNS:
            yield first.with_name(first.name.replace("run-1", run)), roi


def write(table: pd.DataFrame, agreement: pd.DataFrame, folder: Path) -> None:
    """Write `repeatability.csv`, `agreement.csv` and `repeatability.md` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        "session", *(f"{kind}_{what}" for kind in ("soft", "binary")
                     for what in ("run-1_ml", "run-2_ml", "difference"))
    ]  # fmt: skip
    write_atomically(folder / "repeatability.csv", table[columns].round(4).to_csv(index=False))
    write_atomically(folder / "agreement.csv", agreement.to_csv(index=False, float_format="%.4g"))
    lines = [ABOUT, "", "| session | " + " | ".join(
        f"{kind} {what}" for kind in ("soft", "binary")
        for what in ("run-1 [ml]", "run-2 [ml]", "difference [%]")
    ) + " |", "|---|" + "---:|" * 6]  # fmt: skip
    lines += [
        f"| {row.session} | " + " | ".join(f"{row[name]:.3g}" for name in columns[1:]) + " |"
        for _, row in table.iterrows()
    ]
    means = {kind: table[f"{kind}_difference"].mean() for kind in ("soft", "binary")}
    lines += ["", f"Mean difference: {means['soft']:.1f} % soft, {means['binary']:.1f} % binary "
              f"({len(table)} sessions)."]  # fmt: skip
    lines += [
        "",
        "| volume | SDw [ml] | SDw [%] | LDC [ml] | LDC [%] | ICC |",
        "|---|" + "---:|" * 5,
    ]
    lines += [
        f"| {row['volume']} | " + " | ".join(f"{row[name]:.3g}" for name in AGREEMENT) + " |"
        for row in agreement.to_dict("records")
    ]
    write_atomically(folder / "repeatability.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
