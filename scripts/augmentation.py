"""Which chain of augmentation is best: `scripts/reproduce augmentation`.

The candidates of `configs/augmentation_ablation.yaml` are trained on two datasets, and scored on
their test scans and on perturbed copies of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from perturbed_scans import PERTURBATIONS, write_perturbed
from rich.console import Console
from soften import p_values

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.data import read_split
from softseg.evaluation.evaluate import evaluate
from softseg.report.results import read_results
from softseg.runs.plan_file import RunStatus

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
CANDIDATES = CONFIGS / "augmentation_ablation.yaml"
REFERENCE = "Affine"
SCORES = ("dice", "mse", "ece", "volume_bias")
UNCHANGED = "none"
KEPT = ["candidate", "split", "perturbation", "subject", "dice", "mse", "ece", "volume_truth_ml"]
KEPT += ["volume_ml", "soft_volume_ml", "threshold"]
"""Columns of the tables of single scans."""


@dataclass(frozen=True)
class Study:
    """One dataset, and how long networks are trained on it."""

    name: str
    dataset: str
    """The folder of real scans."""
    contrast: str
    epochs: int
    differences: dict[str, Any]
    """What replaces the base and the splits of the ablation of the hippocampus."""


LEAVE_ONE_CENTER_OUT = {
    "extends": str(CONFIGS / "spinal_gm_softseg.yaml"),
    "splits": {
        "name": "leave_one_out",
        "by": "institution_id",
        "validation": 1,
        "within": "person",
    },
}
STUDIES = (
    Study("hippocampus-14", "hippocampus", "T1w", 14, {}),
    Study("hippocampus-42", "hippocampus", "T1w", 42, {}),
    Study("spinal-gm-28", "spinal-gm", "run-1_T2starw", 28, LEAVE_ONE_CENTER_OUT),
)


def write_ablation(study: Study, path: Path) -> None:
    """Write the ablation of a study, with the candidates of the shipped one."""
    shipped = yaml.safe_load(CANDIDATES.read_text())
    shipped["extends"] = str(CONFIGS / shipped["extends"])
    ablation = {**shipped, **study.differences}
    ablation["trainer"] = {**shipped["trainer"], "max_epochs": study.epochs}
    path.write_text(yaml.safe_dump(ablation, sort_keys=False))


def score_perturbed(entry: RunStatus, roots: dict[str, Path]) -> pd.DataFrame:
    """Return the scores of a run's test scans after each perturbation, and of the scans as is."""
    torch.set_num_threads(1)
    tables = [pd.read_csv(entry.run.folder / "metrics.csv").assign(perturbation=UNCHANGED)]
    for name, root in roots.items():
        scored = entry.run.folder / f"metrics-{name}.csv"
        if not scored.exists():
            data = _test_scans(entry, name, root)
            evaluate(entry.run, Console(quiet=True), data=data)
        tables.append(pd.read_csv(scored).assign(perturbation=name))
    rows = pd.concat(tables, ignore_index=True)
    return rows.assign(candidate=entry.candidate, split=entry.split)


def _test_scans(entry: RunStatus, name: str, root: Path) -> Path:
    """Write a YAML file with the test scans of a run in another folder."""
    dataset = load_config(entry.run.config, Experiment).dataset.model_dump(mode="json")
    dataset["root"] = str(root)
    dataset["include"] = {"subject": list(read_split(entry.run.split).test)}
    path = entry.run.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "dataset": dataset}))
    return path


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per candidate: mean scores, the worst scan, and Dice of perturbed scans.

    `p_<score>`: of the difference from the reference (Wilcoxon, two-sided, paired by scan; Holm
    over the candidates); of the volume bias, of its absolute value.
    """
    rows = rows.assign(volume_bias=100 * (rows["soft_volume_ml"] / rows["volume_truth_ml"] - 1))
    clean = rows[rows["perturbation"] == UNCHANGED]
    candidates = list(dict.fromkeys(rows["candidate"]))
    result = pd.DataFrame({"augmentation": candidates})
    result["scans"] = clean["subject"].nunique()
    for score in SCORES:
        values = clean.pivot_table(score, "subject", "candidate")
        result[score] = [values[name].mean() for name in candidates]
        result[f"{score}_sd"] = [values[name].std() for name in candidates]
        result[f"p_{score}"] = p_values(values.abs(), candidates, REFERENCE)
    result["worst_scan"] = [_of(clean, name)["dice"].min() for name in candidates]
    for perturbation in PERTURBATIONS:
        changed = rows[rows["perturbation"] == perturbation]
        values = changed.pivot_table("dice", "subject", "candidate")
        result[perturbation] = [values[name].mean() for name in candidates]
        result[f"p_{perturbation}"] = p_values(values, candidates, REFERENCE)
    perturbed = rows[rows["perturbation"] != UNCHANGED]
    result["perturbed"] = [_of(perturbed, name)["dice"].mean() for name in candidates]
    result["perturbed_mse"] = [_of(perturbed, name)["mse"].mean() for name in candidates]
    worst = perturbed.groupby(["candidate", "subject"])["dice"].min()
    result["perturbed_worst"] = [worst[name].mean() for name in candidates]
    return result


def _of(rows: pd.DataFrame, candidate: str) -> pd.DataFrame:
    return rows[rows["candidate"] == candidate]


def markdown(study: Study, result: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a study's tables."""
    yield f"### {study.dataset}, {study.epochs} epochs, {result['scans'].iloc[0]} test scans"
    yield ""
    yield "| augmentation | Dice [%] | MSE [%] | ECE | soft volume bias [%] | Dice of worst scan |"
    yield "|---|---:|---:|---:|---:|---:|"
    for row in result.to_dict("records"):
        cells = [row["augmentation"]]
        for score, digits in zip(SCORES, (1, 3, 4, 1), strict=True):
            sign = "+" if score == "volume_bias" else ""
            spread = f" ± {row[f'{score}_sd']:.{digits}f}"
            cells.append(f"{row[score]:{sign}.{digits}f}{spread}{star(row[f'p_{score}'])}")
        cells.append(f"{row['worst_scan']:.1f}")
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        f"| Dice [%] after | {' | '.join(PERTURBATIONS)} | mean of all | MSE [%] of all | "
        "worst of each scan |"
    )
    yield f"|---|{'---:|' * (len(PERTURBATIONS) + 3)}"
    for row in result.to_dict("records"):
        cells = [row["augmentation"]]
        cells += [f"{row[name]:.1f}{star(row[f'p_{name}'])}" for name in PERTURBATIONS]
        cells += [f"{row['perturbed']:.1f}", f"{row['perturbed_mse']:.3f}"]
        cells.append(f"{row['perturbed_worst']:.1f}")
        yield f"| {' | '.join(cells)} |"
    yield ""


def star(p: float) -> str:
    """Return a mark for p-values below 0.05."""
    return "*" if p < 0.05 else ""


def run(
    out: Path,
    scratch: Path,
    root_of: Callable[[str], Path],
    softseg: Callable[..., None],
    jobs: int,
) -> None:
    """Write the tables of all studies to `out`; perturbed scans and runs to `scratch`.

    `root_of` returns the folder of a dataset; `softseg` calls the command with these arguments.
    """
    out.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    lines = [ABOUT, ""]
    for study in STUDIES:
        source = root_of(study.dataset)
        roots = {name: scratch / study.dataset / name for name in PERTURBATIONS}
        for name, root in roots.items():
            if not root.exists():
                write_perturbed(source, study.contrast, name, root)
        config, folder = scratch / f"{study.name}.yaml", scratch / "runs" / study.name
        write_ablation(study, config)
        data = f"dataset.root={source}"
        softseg("ablate", str(config), "--out", str(folder), "--jobs", str(jobs), "--set", data)
        with ProcessPoolExecutor(jobs) as pool:
            done = read_results(folder).done_runs()
            rows = pd.concat(pool.map(partial(score_perturbed, roots=roots), done))
        rows[KEPT].to_csv(out / f"{study.name}-metrics.csv", index=False, float_format="%.6g")
        result = table(rows)
        result.to_csv(out / f"{study.name}.csv", index=False, float_format="%.6g")
        lines += markdown(study, result)
        (out / "augmentation.md").write_text("\n".join(lines))
    print("\n".join(lines))


ABOUT = (
    "Chains of augmentation (`configs/augmentation_ablation.yaml`), networks of 8 filters, one "
    "seed for each split. hippocampus: three folds, squared error, sigmoid with prior; spinal-gm: "
    "each center left out once, Adaptive Wing, NormReLU. Scores: means ± SD over test scans of all "
    "splits in native space, at the threshold that was searched on training and validation scans. "
    f"*: p < 0.05 against {REFERENCE}, paired Wilcoxon tests over scans, Holm over the chains; of "
    "the volume bias, for its absolute value. The lower tables show the same networks on perturbed "
    "copies of the test scans: noise (SD 0.3 of the scan's), a bias field (polynomial of order 3, "
    "coefficients up to 0.5), half the resolution in plane, contrast that falls to 0.3 towards the "
    "first and last slice, and rotation by 30 degrees in plane."
)
