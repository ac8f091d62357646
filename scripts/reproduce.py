"""Reproduce the tables under scripts/results/ from shipped configurations and commands."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import augmentation as augmentation_study
import bias
import pandas as pd
import repeatability as repeated_scans
import soften
import soften_scans
import volumes

from softseg.report.results import read_results
from softseg.runs.plan_file import RunStatus
from softseg.runs.thresholds import read_thresholds

RESULTS = Path(__file__).parent / "results"
# one fixed split of the phantom's centers, five seeds; dropout as in the other configurations
SEEDS = [
    "splits={name: leave_one_out, by: center, values: [1], validation: [4], repeats: 5}",
    "model.dropout=0.3",
]
NATIVE = ["preprocess.1.resample.zooms=[null, null, null]", "preprocess.2.crop.size=[48, 64]"]
MEAN = ["preprocess.1.resample.label_order=mean", "trainer.max_epochs=12"]
VARIANTS = {
    "shipped": ["model.dropout_position=before_output_layer"],
    "paper's dropout": ["model.dropout_position=every_convolution"],
    "without a prior": [
        "model.dropout_position=before_output_layer",
        "candidates.Soft-Sig-Wing.model.head.prior=null",  # the only candidate with one
    ],
}
ABOUT = (
    "Synthetic phantom (20 scans, 4 sites), 8 filters, 0.5 mm, 24 epochs; trained on sites 2 and "
    "3, validated on 4, tested on 5 scans of site 1 in native space. Test Dice [%], mean over "
    "seeds (lowest to highest); no result on it says anything about patients."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=list(TABLES))
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    options = parser.parse_args()
    TABLES[options.what](options.jobs)


def hippocampus(jobs: int) -> None:
    """Five candidates x five splits of real scans: the report's tables."""
    _tables_of("hippocampus_ablation", "hippocampus", real("hippocampus"), jobs)


def losses(jobs: int) -> None:
    """Every loss x three splits of real scans, trained at half the resolution."""
    _tables_of("losses_ablation", "losses", real("hippocampus"), jobs)


def losses_native(jobs: int) -> None:
    """The same trained at the native resolution, where only augmentation makes masks soft."""
    _tables_of("losses_ablation", "losses_native", real("hippocampus"), jobs, *NATIVE)


def losses_long(jobs: int) -> None:
    """The best three of `losses` and the reference, trained five times as long."""
    _tables_of("losses_long_ablation", "losses_long", real("hippocampus"), jobs)


def losses_mean(jobs: int) -> None:
    """The same four for 12 epochs, on masks of exact partial volume; compare with `losses`."""
    _tables_of("losses_long_ablation", "losses_mean", real("hippocampus"), jobs, *MEAN)


def repeatability(jobs: int) -> None:
    """Gray matter volumes in two scans of the same session."""
    data = [f"dataset.root={real('spinal-gm')}"]
    only = ["--candidates", "Soft-ReLU-Wing"]
    folder = ablate("spinal_gm_ablation", "repeatability", data, jobs, *only)
    repeated_scans.write(*repeated_scans.measure(folder, softseg), RESULTS / "repeatability")


def measure(jobs: int) -> None:
    """Coverage of volume intervals, and detected atrophy, on a phantom."""
    root, visits = Path("data/volumes-phantom"), Path("data/volumes-visits")
    if not root.exists():
        softseg("data", "phantom", str(root), "--subjects", str(volumes.SCANS))
    if not (visits / "truth.csv").exists():
        volumes.write_visits(visits)
    splits = f"repeats: {volumes.SPLITS}, test: {volumes.TEST}, validation: {volumes.VALIDATION}"
    changes = [
        f"dataset.root={root}",
        "dataset.label=site{center}-sc{subject}-fraction.nii.gz",
        "dataset.targets={gm: {values: null}}",
        f"splits={{name: random, by: subject, {splits}}}",
    ]
    only = ["--candidates", "Hard-Sig-Dice,Soft-ReLU-Wing"]
    runs = read_results(ablate("phantom_ablation", "volumes", changes, jobs, *only)).done_runs()
    coverages = [row for entry in runs for row in volumes.coverage(entry, softseg)]
    first = [entry for entry in runs if entry.split == 0]
    detections = [row for entry in first for row in volumes.detection(entry, visits, softseg)]
    folder = RESULTS / "measure"
    volumes.write(pd.DataFrame(coverages), pd.DataFrame(detections), folder)


def unbalanced_real(jobs: int) -> None:
    """Losses for small and many objects on three real patients."""
    _tables_of("unbalanced_real_ablation", "unbalanced_real", real("ms-lesions"), jobs)


def unbalanced(jobs: int) -> None:
    """Losses for small and many objects on the phantom of MS lesions."""
    root = Path("data/msseg2016-phantom")
    if not root.exists():
        softseg("data", "phantom", str(root), "--layout", "msseg2016", "--subjects", "20")
    _tables_of("unbalanced_ablation", "unbalanced", root, jobs)


def real(name: str) -> Path:
    """Return the folder of a dataset: under SOFTSEG_DATA, or under data/."""
    return Path(os.environ.get("SOFTSEG_DATA", "data")) / name


def _tables_of(config: str, name: str, root: Path, jobs: int, *changes: str) -> None:
    out = ablate(config, name, [f"dataset.root={root}", *changes], jobs)
    shutil.copytree(out / "tables", RESULTS / name, dirs_exist_ok=True)


def candidates(jobs: int) -> None:
    """How reliably each candidate trains, with and without what differs from the paper."""
    if not Path("data/phantom").exists():
        softseg("data", "phantom", "data/phantom")
    rows = []
    for variant, sets in VARIANTS.items():
        only = ["--candidates", "Soft-Sig-Wing"] if "prior" in variant else []
        slug = variant.replace("'", "").replace(" ", "-")
        out = ablate("phantom_ablation", f"candidates-{slug}", [*SEEDS, *sets], jobs, *only)
        rows += [{"variant": variant, **row_of(entry)} for entry in read_results(out).done_runs()]
    write(pd.DataFrame(rows))


def volume_bias(jobs: int) -> None:
    """The volume bias of five losses where the truth is uncertain, and its closed form."""
    folders = []
    for layout in bias.LAYOUTS:
        root = Path("data") / layout
        if not root.exists():
            count = str(bias.SUBJECTS)
            softseg("data", "phantom", str(root), "--layout", layout, "--subjects", count)
        folders.append(ablate("bias_ablation", f"bias-{layout}", [f"dataset.root={root}"], jobs))
    bias.write(bias.measure(folders), RESULTS / "bias")


def softening(jobs: int) -> None:
    """Which softening of binary masks comes closest to the true partial volume."""
    scratch = Path(tempfile.gettempdir()) / "softseg-soften"  # scans are not kept
    if not (scratch / "phantom").exists():
        soften_scans.write_phantom(scratch / "phantom", softseg)
    if not (scratch / "hippocampus").exists():
        soften_scans.write_hippocampus(scratch / "hippocampus", real("hippocampus"))
    soften.run(RESULTS / "soften", scratch, softseg, jobs)


def augmentation(jobs: int) -> None:
    """Which chain of augmentation is best on real scans, and on perturbed copies of them."""
    scratch = Path(tempfile.gettempdir()) / "softseg-augmentation"  # scans are not kept
    augmentation_study.run(RESULTS / "augmentation", scratch, real, softseg, jobs)


def dimensions(jobs: int) -> None:
    """A 2D and a 3D network with equal computing time on real scans, in three folds."""
    _tables_of("dimensions_ablation", "dimensions", real("hippocampus"), jobs)


def row_of(entry: RunStatus) -> dict[str, object]:
    """Return the scores of one run, and whether its output was dead at the end."""
    scored = pd.read_csv(entry.run.folder / "metrics.csv")
    last, thresholds = entry.history.iloc[-1], read_thresholds(entry.run.threshold) or {}
    return {
        "candidate": entry.candidate,
        "seed": entry.split,
        "test_dice": round(scored["dice"].mean(), 2),
        "threshold": thresholds["gm"].value,
        "val_dice_at_0.5": round(last["val_dice"], 2),
        "dead_batches_at_end": int(last["dead_batches"]),
        "dead_scans_at_end": int(last["dead_volumes"]),
    }


def write(table: pd.DataFrame) -> None:
    """Write the rows as CSV, and a summary as Markdown."""
    table.to_csv(RESULTS / "candidates.csv", index=False)
    heading = [
        "| candidate | variant | seeds | test Dice | dead at the end |",
        "|---|---|---|---|---|",
    ]
    lines = [ABOUT, "", *heading]
    for (variant, candidate), rows in table.groupby(["variant", "candidate"], sort=False):
        dice, dead = rows["test_dice"], int((rows["dead_scans_at_end"] > 0).sum())
        lines.append(
            f"| {candidate} | {variant} | {len(rows)} | {dice.mean():.1f} "
            f"({dice.min():.1f} to {dice.max():.1f}) | {dead} of {len(rows)} |"
        )
    (RESULTS / "candidates.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def ablate(config: str, out: str, sets: list[str], jobs: int, *more: str) -> Path:
    """Run an ablation, skipping runs that are done; return its folder."""
    folder = Path("runs/reproduce") / out
    changes = [word for change in sets for word in ("--set", change)]
    settings = ["--out", str(folder), "--jobs", str(jobs), *more, *changes]
    softseg("ablate", f"configs/{config}.yaml", *settings)
    return folder


def softseg(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "softseg", *arguments], check=True)


TABLES = {
    "candidates": candidates,
    "hippocampus": hippocampus,
    "losses": losses,
    "losses_native": losses_native,
    "losses_long": losses_long,
    "losses_mean": losses_mean,
    "unbalanced": unbalanced,
    "unbalanced_real": unbalanced_real,
    "bias": volume_bias,
    "repeatability": repeatability,
    "soften": softening,
    "measure": measure,
    "augmentation": augmentation,
    "dimensions": dimensions,
}


if __name__ == "__main__":
    main()
