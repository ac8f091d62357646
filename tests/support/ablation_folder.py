"""Write the folder of a finished ablation, or a part of it, without training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from softseg.inference.write import write_predictions
from softseg.runs.thresholds import Threshold, write_thresholds
from tests.support import makers, project

NAMES = ("Soft", "Dice", "Hard")
THRESHOLDS = [f"{k / 20:.2f}" for k in range(1, 20)]
METRICS = (
    "dice", "precision", "recall", "avd", "rvd", "mse", "mse_paper", "soft_dice",
    "volume_ml", "volume_truth_ml", "soft_volume_ml",
)  # fmt: skip


def scores(splits=8, subjects=2, candidates=NAMES, seed=0):
    """{(candidate, split): {subject: Dice}}; splits have disjoint subjects, all scores differ."""
    draws = np.random.default_rng(seed)
    worse = {name: 4.0 * n for n, name in enumerate(candidates)}
    return {
        (name, k): {
            f"s{subjects * k + n:02}": 85 - worse[name] - draws.uniform(0, 3)
            for n in range(subjects)
        }
        for name in candidates
        for k in range(splits)
    }


def write(folder: Path, done, planned=None, root="nowhere", **keys) -> Path:
    """plan.json, ablation.yaml and the folders of the runs `done`; `planned` adds (name, split)."""
    folder.mkdir(parents=True, exist_ok=True)
    places = list(dict.fromkeys([*done, *(planned or [])]))
    names = list(dict.fromkeys(name for name, _ in places))
    runs = [
        {"candidate": name, "split": k} for name, k in sorted(places, key=lambda place: place[1])
    ]
    splits = {str(k): {"train": [], "validation": [], "test": []} for _, k in places}
    (folder / "plan.json").write_text(json.dumps({"runs": runs, "splits": splits}))
    (folder / "ablation.yaml").write_text(_yaml("study", root) + _more(names, keys))
    for (name, k), dice in done.items():
        one_run(folder / name / f"split-{k}", dice, seed=k, root=root)
    return folder


def _more(names, keys):
    spec = {
        "candidates": {name: {} for name in names},
        "splits": {"name": "random", "repeats": 1},
        **keys,
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in spec.items())


def _yaml(name, root):
    text = project.YAML.replace("name: tiny", f"name: {name}").replace(
        "root: data", f"root: {root}"
    )
    return "\n".join(line for line in text.splitlines() if not line.startswith("split:")) + "\n"


def one_run(folder: Path, dice, seed=0, root="nowhere") -> Path:
    """Write a trained and evaluated run with the test scores {subject: Dice}."""
    folder.mkdir(parents=True)
    metadata = {"status": "finished", "finished": f"2024-03-01T10:00:{seed:02}+00:00", "seed": seed}
    metadata |= {"device": "cpu", "threads": 1, "best_epoch": 2, "versions": {"torch": "2.4"}}
    metadata |= {"git_commit": "abc1234", "data_fingerprint": dict.fromkeys(dice, "0f")}
    note(folder, **metadata, done=f"2024-03-01T11:00:{seed:02}+00:00", evaluation_seconds=5.0)
    (folder / "config.yaml").write_text(_yaml(folder.parent.name, root))
    sets = {"train": ["t"], "validation": ["v"], "test": list(dice)}
    (folder / "split.json").write_text(json.dumps(sets))
    metrics(dice).to_csv(folder / "metrics.csv", index=False)
    history(folder, [40.0, 80.0, 75.0])
    curve = {threshold: 80 - 40 * abs(float(threshold) - 0.4) for threshold in THRESHOLDS}
    write_thresholds(folder / "threshold.json", {"gm": Threshold(0.4, curve)}, ["t", "v"])
    return folder


def metrics(dice):
    """A metrics.csv: every metric depends on Dice, and no two are equal."""
    names = list(dice)
    table = pd.DataFrame({"subject": names, "person": names, "target": "gm"})
    values = pd.Series(list(dice.values()), dtype=float)
    for number, metric in enumerate(METRICS):
        table[metric] = values + number if number < 3 else (100 - values) / (1 + number)
    truth = [sum(map(ord, name)) / 100 for name in dice]  # the same for all candidates
    table = table.assign(threshold=0.4, volume_truth_ml=truth, dV_hard_ml=0.5)
    return table.assign(dV_soft_ml=table["soft_volume_ml"] - truth)


def group(study: Path, centers=None, pixels=None, column="center"):
    """Add the centers and pixel sizes in mm of these subjects ({subject: value}) to all scores."""
    for run in study.rglob("run.json"):
        path = run.with_name("metrics.csv")
        table = pd.read_csv(path)
        if centers:
            table["group"] = table["subject"].map(centers)
            note(run.parent, **json.loads(run.read_text()), scored_group_by=column)
        if pixels:
            table["in_plane_mm"] = table["subject"].map(pixels)
        table.to_csv(path, index=False)
    return study


def history(folder: Path, val_dice, dead=(0,), logit=(3.0,)):
    """history.csv with these validation Dice [%]; other columns repeat their last value."""
    count = len(val_dice)
    table = pd.DataFrame(
        {
            "epoch": range(1, count + 1),
            "train_loss": np.linspace(1, 0.5, count),
            "val_loss": np.linspace(1, 0.6, count),
            "val_dice": val_dice,
            "dead_batches": 0,
            "dead_volumes": [*dead, *[dead[-1]] * count][:count],
            "largest_logit": [*logit, *[logit[-1]] * count][:count],
            "train_seconds": 10.0,
            "val_seconds": 2.0,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "history.csv", index=False)


def note(folder: Path, **metadata):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(metadata))


def fail(folder: Path, reason: str):
    """Write the file that a failed run leaves next to its folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.with_name(f"{folder.name}.failed").write_text(reason + "\n")


def scans(root: Path, study: Path, done):
    """The scans of these runs' subjects, in the layout of the YAML file, and their predictions."""
    for number, name in enumerate(sorted({name for dice in done.values() for name in dice})):
        makers.nifti(root / f"{name}-image.nii.gz", makers.scan(number))
        for rater in (1, 2, 3):
            mask = makers.ball(soft=False)
            makers.nifti(root / f"{name}-mask-r{rater}.nii.gz", mask, dtype=np.uint8)
    for (name, k), dice in done.items():
        for subject in dice:
            soft = makers.ball()[None] * 0.9
            predictions = study / name / f"split-{k}" / "predictions"
            write_predictions(
                predictions,
                root / f"{subject}-image.nii.gz",
                soft,
                [soft[0] >= 0.4],
                {"gm": 0.4},
                {},
            )
