"""Which softening comes closest to the true partial volume: `scripts/reproduce soften`.

Each way to soften a binary mask is compared with the exact fraction of every voxel, first by
itself, then by the predictions of a network that was trained on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import TypeAdapter
from scipy import ndimage
from soften_figure import plot_masks
from soften_scans import SETS, Scan, read_scans

from softseg.core.component import parse_component
from softseg.core.types import BoolArray, Float32Array
from softseg.data.nifti.io import read_volume
from softseg.data.softening import Soften, SoftenMethod, UnfitMaskError
from softseg.metrics import binarize
from softseg.metrics.calibration import region, score_calibration
from softseg.metrics.overlap import dice
from softseg.metrics.significance import holm, mean_interval, wilcoxon
from softseg.report.results import read_results

FAMILY: TypeAdapter[Any] = TypeAdapter(Soften)
SCORES = ("mse_edge", "mae_edge", "volume_bias", "ece", "dice")
"""mse_edge, mae_edge: mean squared and absolute error over the voxels that the structure fills in
part, and their neighbors; volume_bias: relative, in percent; dice: at 0.5, in percent."""
UNSOFTENED, EXACT = "binary mask", "exact fraction"
SEEDS = 2


@dataclass(frozen=True)
class Study:
    """One dataset of the study."""

    name: str
    voxel_mm: float
    """The in-plane voxel size (mean of the phantom's sites), the unit of the widths tried."""
    training: dict[str, Any]
    """The sections of the networks' configuration that differ between datasets."""


STUDIES = (
    Study(
        "phantom",
        0.35,
        {
            "preprocess": [{"standardize": {}}, {"crop": {"size": [64, 64]}}],
            "trainer": {"batch_size": 8, "max_epochs": 24},
        },
    ),
    Study(
        "hippocampus",
        2.0,
        {
            "preprocess": [{"standardize": {}}, {"crop": {"size": [24, 32]}}],
            "trainer": {"batch_size": 16, "max_epochs": 30},
        },
    ),
)


def settings(voxel: float) -> dict[str, list[dict[str, Any]]]:
    """Return the parameters that are tried for each method, in mm."""

    def lengths(*voxels: float) -> list[float]:
        return [round(voxel * length, 4) for length in voxels]

    def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
        return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]

    ramps = lengths(0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3)
    return {
        "gaussian": grid(sigma_mm=lengths(0.2, 0.3, 0.4, 0.5, 0.6, 0.8)),
        "distance": grid(width_mm=ramps, shape=["linear", "sigmoid"]),
        "dilation": grid(width_mm=lengths(0.6, 1, 1.5), value=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5]),
        "geodesic": grid(
            width_mm=[*ramps, *lengths(4)], shape=["linear"], intensity_mm=lengths(0.1, 0.3, 1, 2)
        ),
        "smoothing": grid(amount=[0.01, 0.02, 0.05, 0.1, 0.2]),
        "supersampled": grid(sigma_mm=lengths(0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1)),
    }


def compare_masks(folder: Path, study: Study) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    """Return the parameters chosen for each method, and a row per method and test scan."""
    scans = read_scans(folder)
    tuning = [scan for scan in scans if scan.set != "test"]
    chosen = {
        name: best_setting(name, tried, tuning, scans)
        for name, tried in settings(study.voxel_mm).items()
    }
    rows = []
    for scan in scans:
        if scan.set == "test":
            arms = {UNSOFTENED: scan.mask}
            arms |= {name: softened(name, chosen[name], scan) for name in chosen}
            rows += [{"scan": scan.name, "arm": a, **score(m, scan)} for a, m in arms.items()]
    return chosen, pd.DataFrame(rows)


def best_setting(
    name: str, tried: Iterable[dict[str, Any]], tuning: Sequence[Scan], scans: Sequence[Scan]
) -> dict[str, Any]:
    """Return the parameters with the lowest mean squared error at the edge of the tuning scans.

    Parameters that a mask of any scan is unfit for, as an object is smaller, are left out.
    """
    errors: list[tuple[float, dict[str, Any]]] = []
    for parameters in tried:
        try:
            values = [score(softened(name, parameters, s), s)["mse_edge"] for s in tuning]
            for scan in scans:
                softened(name, parameters, scan)
        except UnfitMaskError:
            continue
        errors.append((float(np.mean(values)), parameters))
    return min(errors, key=lambda pair: pair[0])[1]


def softened(name: str, parameters: dict[str, Any], scan: Scan) -> Float32Array:
    """Return the softened mask of a scan."""
    method: SoftenMethod = parse_component(FAMILY, {name: parameters})
    return method(scan.mask, scan.zooms, scan.image)


def score(soft: Float32Array, scan: Scan) -> dict[str, float]:
    """Return the scores of a soft mask or prediction against the exact fraction of each voxel."""
    edge = edge_of(scan.fraction)
    difference = (soft - scan.fraction)[edge].astype(np.float64)
    total = scan.fraction.sum(dtype=np.float64)
    near = region(scan.fraction, scan.zooms)
    return {
        "mse_edge": float(np.mean(difference**2)),
        "mae_edge": float(np.mean(np.abs(difference))),
        "volume_bias": float(100 * (soft.sum(dtype=np.float64) - total) / total),
        "ece": score_calibration(soft, scan.fraction, near)["ece"],
        "dice": dice(binarize(soft, 0.5), binarize(scan.fraction, 0.5)),
    }


def edge_of(fraction: Float32Array) -> BoolArray:
    """Return the voxels that the structure fills in part, and the neighbors of these."""
    partial = (fraction > 0) & (fraction < 1)
    return np.asarray(ndimage.binary_dilation(partial, np.ones((3, 3, 3), bool)))


def ablation(study: Study, chosen: dict[str, dict[str, Any]], augment: bool = True) -> str:
    """Return the YAML of an ablation that trains the same network on each kind of mask.

    Augmentation interpolates the masks, which softens them once more.
    """
    affine = {"affine": {"rotation": 20, "translation": 0.03, "scale": 0.1}}
    candidates: dict[str, Any] = {slug(UNSOFTENED): {}}
    candidates |= {
        name: {"dataset": {"targets": {"structure": {"soften": {name: parameters}}}}}
        for name, parameters in chosen.items()
    }
    fraction = {"label": "{center}-{subject}-fraction.nii.gz"}
    candidates[slug(EXACT)] = {"dataset": {"targets": {"structure": {"values": None, **fraction}}}}
    spec = {
        "name": f"soften-{study.name}{'' if augment else '-plain'}",
        "dataset": {
            "loader": "files",
            "root": f"data/soften/{study.name}",
            "image": "{center}-{subject}-{contrast}.nii.gz",
            "contrasts": ["image"],
            "targets": {
                "structure": {"values": [1], "label": "{center}-{subject}-mask.nii.gz"},
            },
        },
        "preprocess": study.training["preprocess"],
        "augment": [affine] if augment else [],
        "model": {
            "name": "unet2d",
            "filters": 8,
            "dropout": 0.0,
            "head": {"name": "sigmoid", "prior": 0.03},
        },
        "loss": {"name": "mse"},
        "trainer": {
            **study.training["trainer"],
            "learning_rate": 0.004,
            "early_stopping": None,
            "precision": "float32",
            "threads": 1,
            "images_every": 0,
        },
        "splits": {
            "name": "leave_one_out",
            "by": "center",
            "values": ["test"],
            "validation": ["validation"],
            "repeats": SEEDS,
        },
        "reference": slug(UNSOFTENED),
        "candidates": candidates,
    }
    return str(yaml.safe_dump(spec, sort_keys=False))


def slug(arm: str) -> str:
    """Return the name of an arm as a candidate's."""
    return arm.replace(" ", "-")


def compare_networks(folder: Path, root: Path) -> pd.DataFrame:
    """Return a row per arm, seed and test scan: the scores of a finished ablation."""
    scans = {scan.name: scan for scan in read_scans(root) if scan.set == "test"}
    names = {slug(arm): arm for arm in (UNSOFTENED, EXACT)}
    rows = []
    for entry in read_results(folder).done_runs():
        for name, scan in scans.items():
            file = f"predictions/test-{name}-image_label-structure_probseg.nii.gz"
            soft = read_volume(entry.run.folder / file).data
            arm = names.get(entry.candidate, entry.candidate)
            rows.append({"scan": name, "arm": arm, "seed": entry.split, **score(soft, scan)})
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame, chosen: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return a row per arm: mean scores with their 95 % intervals, and tests of paired scans.

    The scores of a scan are means over seeds; `<score>_seeds` has the mean scores of each seed.
    `p_<score>`: of the difference from the unsoftened mask (Wilcoxon, two-sided; Holm over the
    arms); of the volume bias, of its absolute value. `p_best`: of the difference in mse_edge from
    the softening with the lowest one.
    """
    seeds = rows.get("seed", pd.Series(0, rows.index))
    values = {score: rows.pivot_table(score, "scan", "arm", sort=False) for score in SCORES}
    values["volume_bias_abs"] = values["volume_bias"].abs()
    arms = list(dict.fromkeys(rows["arm"]))
    result = pd.DataFrame({"arm": arms, "parameters": [text_of(chosen.get(arm)) for arm in arms]})
    result["scans"] = len(values["mse_edge"])
    for score in SCORES:
        result[score] = [values[score][arm].mean() for arm in arms]
        bounds = [mean_interval(values[score][arm]) for arm in arms]
        result[f"{score}_low"], result[f"{score}_high"] = zip(*bounds, strict=True)
        by_seed = rows.pivot_table(score, seeds, "arm")
        if len(by_seed) > 1:
            result[f"{score}_seeds"] = [" ".join(f"{v:.4g}" for v in by_seed[a]) for a in arms]
        tested = values[f"{score}_abs"] if score == "volume_bias" else values[score]
        result[f"p_{score}"] = p_values(tested, arms, UNSOFTENED)
    best = values["mse_edge"][list(chosen)].mean().idxmin()
    result["p_best"] = p_values(values["mse_edge"], arms, str(best))
    return result


def p_values(values: pd.DataFrame, arms: Sequence[str], reference: str) -> list[float]:
    """Return Holm's p-value of each arm against the reference, NaN for itself."""
    tests = [
        float("nan") if arm == reference else wilcoxon(values[arm] - values[reference]).p
        for arm in arms
    ]
    return [float(p) for p in holm(tests)]


def text_of(parameters: dict[str, Any] | None) -> str:
    """Return parameters as `width_mm 0.5, shape linear`."""
    return ", ".join(f"{key} {value}" for key, value in (parameters or {}).items())


def markdown(title: str, result: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of a table with means, intervals and stars."""
    yield f"### {title}"
    yield ""
    heads = ("mask", "parameters", "MSE, edge", "MAE, edge", "volume bias [%]", "ECE", "Dice [%]")
    yield f"| {' | '.join((*heads, 'MSE by seed'))} |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in result.to_dict("records"):
        cells = [row["arm"], row["parameters"]]
        for score, digits in zip(SCORES, (4, 3, 1, 4, 1), strict=True):
            sign = "+" if score == "volume_bias" else ""
            low, high = (f"{row[f'{score}_{end}']:{sign}.{digits}f}" for end in ("low", "high"))
            star = "*" if row[f"p_{score}"] < 0.05 else ""
            cells.append(f"{row[score]:{sign}.{digits}f}{star} ({low} to {high})")
        cells.append(row.get("mse_edge_seeds", ""))
        yield f"| {' | '.join(cells)} |"
    yield ""


def run(out: Path, scratch: Path, softseg: Callable[..., None], jobs: int) -> None:
    """Write the tables of both datasets to `out`; scans and runs to `scratch`.

    `softseg` calls the command with these arguments.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines = [ABOUT, ""]
    for study in STUDIES:
        root = scratch / study.name
        chosen, rows = compare_masks(root, study)
        masks = table(rows, chosen)
        write_table(out / f"{study.name}-masks.csv", masks)
        lines += markdown(f"{study.name}: masks", masks)
        if study.name == "hippocampus":
            plot_example(root, chosen, out / "masks.png")
        for augment in (True, False):
            name = f"{study.name}{'' if augment else '-plain'}"
            config, folder = out / f"{name}.yaml", scratch / "runs" / name
            config.write_text(ablation(study, chosen, augment))
            data = f"dataset.root={root}"
            softseg("ablate", str(config), "--out", str(folder), "--jobs", str(jobs), "--set", data)
            networks = table(compare_networks(folder, root), chosen)
            write_table(out / f"{name}-networks.csv", networks)
            how = "" if augment else " without augmentation"
            lines += markdown(f"{study.name}: networks{how}", networks)
    (out / "soften.md").write_text("\n".join(lines))
    print("\n".join(lines))


def plot_example(root: Path, chosen: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw the masks of the first test scan."""
    scan = next(scan for scan in read_scans(root) if scan.set == "test")
    masks = {EXACT: scan.fraction, UNSOFTENED: scan.mask}
    plot_masks(masks | {name: softened(name, chosen[name], scan) for name in chosen}, path)


def write_table(path: Path, result: pd.DataFrame) -> None:
    """Write a table with six significant digits."""
    path.write_text(result.to_csv(index=False, float_format="%.6g"))


ABOUT = (
    "Binary masks (fraction of 0.5 or more) that were softened, and networks (8 filters, squared "
    f"error, sigmoid, {SEEDS} seeds) trained on them, against the exact "
    "fraction of each voxel. Widths: the lowest squared error at the edge of "
    f"{SETS['train'] + SETS['validation']} scans; scores: means over {SETS['test']} other scans "
    "with 95 % bootstrap intervals. The edge: voxels that the structure fills in part, and their "
    "neighbors. *: p < 0.05 against the binary mask, paired Wilcoxon tests, Holm over the arms; "
    "they compare scans, not seeds. The phantom is synthetic: no result on it says anything about "
    "patients."
)
