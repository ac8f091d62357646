"""How well gray matter volumes of repeated scans agree: `scripts/reproduce repeatability`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.files import write_atomically
from softseg.data import read_split
from softseg.data.nifti.io import read_volume
from softseg.inference.write import prediction_file
from softseg.report.results import read_results
from softseg.runs.plan_file import RunStatus

RUNS = ("run-1", "run-2")
ABOUT = (
    "Gray matter volume [ml] of two scans of one session (`run-1`, `run-2`), segmented by networks "
    "that were trained on `run-1` of persons of other centers (Soft-ReLU-Wing of "
    "`configs/spinal_gm_ablation.yaml`, 8 filters, six persons in all). The box is around the "
    "cord mask of `run-1` for both. Difference: 200 |V1 - V2| / (V1 + V2) [%]. Soft: the sum of "
    "the soft values; binary: of voxels from the searched threshold on. Six persons are a "
    "demonstration, not a study."
)


def measure(folder: Path, predict: Callable[..., None]) -> pd.DataFrame:
    """Return one row per session: the volumes of both runs, and their difference.

    Args:
        folder: of a finished ablation.
        predict: calls `softseg predict` with these arguments.
    """
    rows = [row for entry in read_results(folder).done_runs() for row in of_run(entry, predict)]
    table = pd.DataFrame(rows).sort_values("session")
    for kind in ("soft", "binary"):
        first, second = (table[f"{kind}_{run}_ml"] for run in RUNS)
        table[f"{kind}_difference"] = 200 * (first - second).abs() / (first + second)
    return table


def of_run(entry: RunStatus, predict: Callable[..., None]) -> Iterator[dict[str, object]]:
    """Yield the volumes in both scans of each session that a run was tested on."""
    experiment = load_config(entry.run.config, Experiment)
    subjects = {subject.name: subject for subject in experiment.dataset()}
    for name in read_split(entry.run.split).test:
        [first], roi = subjects[name].images.values(), subjects[name].roi
        row: dict[str, object] = {"session": name}
        for run in RUNS:
            image, out = first.with_name(first.name.replace("run-1", run)), entry.run.folder / run
            predict(str(entry.run.folder), str(image), "--roi", str(roi), "-o", str(out))
            row |= {f"soft_{run}_ml": volume(out, image, "probseg")}
            row |= {f"binary_{run}_ml": volume(out, image, "mask")}
        yield row


def volume(out: Path, image: Path, kind: str) -> float:
    """Return the volume of a prediction in ml."""
    prediction = read_volume(prediction_file(out, image, "gm", kind))  # type: ignore[arg-type]
    return float(prediction.data.sum(dtype="float64")) * prediction.grid.voxel_ml


def write(table: pd.DataFrame, folder: Path) -> None:
    """Write `repeatability.csv` and `repeatability.md` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        "session", *(f"{kind}_{what}" for kind in ("soft", "binary")
                     for what in ("run-1_ml", "run-2_ml", "difference"))
    ]  # fmt: skip
    write_atomically(folder / "repeatability.csv", table[columns].round(4).to_csv(index=False))
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
    write_atomically(folder / "repeatability.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
