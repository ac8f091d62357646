"""The report of `scripts/compare`: one row for each dataset, budget and system."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from compare_environments import MONAI, NNUNET
from compare_nnunet import STEPS_PER_EPOCH
from compare_sets import DATA_SETS
from soften import p_values

SCORES = {
    "dice": ("Dice [%]", "{:.1f}"),
    "precision": ("precision [%]", "{:.1f}"),
    "recall": ("recall [%]", "{:.1f}"),
    "mse": ("MSE [%]", "{:.3f}"),
    "ece": ("ECE", "{:.4f}"),
    "soft_bias": ("soft volume bias [%]; of absolute values", "{:+.1f}"),
    "binary_bias": ("binary volume bias [%]", "{:+.1f}"),
    "hd95_mm": ("HD95 [mm]", "{:.2f}"),
}
"""Column of metrics.csv -> its heading and format."""
TESTED = ("dice", "mse", "ece", "soft_bias")
OF_ABSOLUTE_VALUES = ("soft_bias",)
COSTS = {
    "core_minutes": ("core-minutes", "{:.1f}"),
    "peak_mb": ("peak memory [MB]", "{:.0f}"),
    "seconds_per_scan": ("seconds per predicted scan", "{:.2f}"),
    "lines": ("lines a user writes", "{:.0f}"),
}
Row = dict[str, Any]
"""Of the summary."""
KEYS = ["set", "budget", "system"]
KEPT = [*KEYS, "fold", "subject", *SCORES, "soft_dice", "volume_ml", "soft_volume_ml", "threshold"]
ABOUT = """\
`scripts/compare` trains every system on the same scans for the same CPU time (user and system \
time of the training process on one thread, with its start). Two short trainings of each show how \
many epochs or steps fit; the schedule of the learning rate has that length. Scores: means ± SD \
over the test scans of all folds, in native space, by `softseg score`; MSE, ECE and the soft \
volume bias are of the soft maps, the others of masks: for softseg at the threshold of its search \
on training and validation scans, for the others at 0.5, as they decide. A bias is predicted minus \
true volume, in percent of the true one. *: p < 0.05 against the system that is named above the \
table (paired Wilcoxon tests over scans, Holm over the systems), of Dice, MSE, ECE and the \
absolute value of the soft volume bias.

- softseg: the configurations that come with it, with one thread and without early stopping; \
`eval --threshold-search` and `predict`, whose times are not in the core-minutes.
- nnU-Net {nnunet}: planned by itself, its trainer with fewer epochs of {steps} steps, a batch of \
at most 32 slices or 2 volumes (its plans are for a GPU), without the prediction of the validation \
scans at the end; `nnUNetv2_predict` with mirroring, its default. Preprocessing is not in the \
core-minutes.
- MONAI {monai}: the U-Net of its tutorials (16 to 256 channels, residual units), Dice and \
cross-entropy, Adam with 0.001 and a cosine schedule, random affine and intensity.
- Seconds per scan: CPU time of predicting all test scans minus that of predicting one, for each \
of the others, so without the start of the program.
- Lines: configuration, code and commands, without comments and blank lines; for softseg with all \
configurations that the recipe extends.
"""


def about() -> str:
    """Return what the tables show, with the versions of the peers."""
    versions = {
        environment.name: environment.packages[1].partition("==")[2]
        for environment in (NNUNET, MONAI)
    }
    return ABOUT.format(**versions, steps=STEPS_PER_EPOCH)


def summary(scores: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each dataset, budget and system: means, spread, p-values, costs.

    Args:
        scores: a row per test scan, with the columns `KEPT`.
        costs: a row per fold, with `KEYS`, `fold`, those of `COSTS` and `units`.
    """
    rows = []
    for (data_set, budget), members in scores.groupby(["set", "budget"], sort=False):
        systems = list(dict.fromkeys(members["system"]))
        references = DATA_SETS[data_set].references
        reference = next((name for name in references if name in systems), systems[0])
        p = {name: p_of(members, name, systems, reference) for name in TESTED}
        for number, system in enumerate(systems):
            own = members[members["system"] == system]
            row = {"set": data_set, "budget": budget, "system": system, "reference": reference}
            row |= {"folds": own["fold"].nunique(), "scans": len(own)}
            for score in SCORES:
                row |= {score: own[score].mean(), f"{score}_sd": own[score].std()}
            row |= {f"absolute_{score}": own[score].abs().mean() for score in OF_ABSOLUTE_VALUES}
            row |= {f"p_{name}": p[name][number] for name in TESTED}
            rows.append(row | {"worst_dice": own["dice"].min()})
    means = costs.groupby(KEYS, sort=False)[[*COSTS, "units"]].mean().reset_index()
    return pd.DataFrame(rows).merge(means, on=KEYS, how="left")


def p_of(members: pd.DataFrame, score: str, systems: Sequence[str], reference: str) -> list[float]:
    """Return the p-value of each system against the reference, over the scans that all have."""
    if reference not in systems:
        return [float("nan")] * len(systems)
    values = members.pivot_table(score, ["fold", "subject"], "system", dropna=False)
    if score in OF_ABSOLUTE_VALUES:
        values = values.abs()
    return p_values(values.dropna(), systems, reference)


def markdown(table: pd.DataFrame, skipped: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of the tables: of scores and of costs, for each dataset and budget."""
    tables = table.groupby(["set", "budget"], sort=False) if len(table) else ()
    for (data_set, budget), group in tables:
        rows = group.to_dict("records")
        yield f"### {data_set}, {budget:g} core-minutes"
        yield ""
        yield f"Tests (*) are against {rows[0]['reference']}."
        yield ""
        yield from _table(
            ["folds", "scans", *(heading for heading, _ in SCORES.values())], rows, _scores
        )
        yield ""
        yield from _table([heading for heading, _ in COSTS.values()], rows, _costs)
        yield ""
    for row in skipped.to_dict("records"):
        yield f"- {row['set']}, {row['system']}: skipped, {row['reason']}"


def _table(
    headings: Sequence[str], rows: Sequence[Row], cells: Callable[[Row], list[str]]
) -> Iterator[str]:
    """Yield the lines of one table."""
    yield f"| system | {' | '.join(headings)} |"
    yield f"|---|{'---:|' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join([row['system'], *cells(row)])} |"


def _scores(row: Row) -> list[str]:
    """Return folds, scans, and mean and spread of each score; of some, of absolute values, too."""
    cells = [str(row["folds"]), str(row["scans"])]
    for score, (_, form) in SCORES.items():
        unsigned = form.replace("+", "")
        text = f"{number(row[score], form)} ± {number(row[f'{score}_sd'], unsigned)}"
        if score in OF_ABSOLUTE_VALUES:
            text += f"; {number(row[f'absolute_{score}'], unsigned)}"
        cells.append(text + "*" * (row[f"p_{score}"] < 0.05 if score in TESTED else False))
    return cells


def _costs(row: Row) -> list[str]:
    return [number(row[cost], form) for cost, (_, form) in COSTS.items()]


def number(value: float, form: str) -> str:
    """Return a number as text; a dash if it is not defined, as the spread of one scan."""
    return "–" if math.isnan(value) else form.format(value)


def write(folder: Path, scores: pd.DataFrame, costs: pd.DataFrame, skipped: pd.DataFrame) -> str:
    """Write compare.md, compare.csv, metrics.csv and costs.csv; return the report."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame()
    if len(scores):
        table = summary(scores, costs)
        kept = scores[[name for name in KEPT if name in scores]]
        files = {"compare": table, "metrics": kept, "costs": costs}
        for name, content in files.items():
            content.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    lines = [about(), *markdown(table, skipped)]
    (folder / "compare.md").write_text("\n".join(lines) + "\n")
    return "\n".join(lines)
