"""How far a run's uncertainty can be believed: errors and raters' disagreement against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from torch import Tensor

from softseg.core.files import write_atomically
from softseg.core.types import Float32Array
from softseg.data.sample import load_sample
from softseg.evaluation.opened_run import Trained, open_run
from softseg.evaluation.threshold_search import thresholds_of
from softseg.evaluation.uncertainty_scores import RETAINED, Judged, Sampled, judge
from softseg.inference.uncertainty.maps import Uncertainty, summarize
from softseg.inference.uncertainty.sampling import Logits, Sampling, Through, check, soft_samples
from softseg.metrics.headings import HEADINGS
from softseg.preprocess.stack import StackedVolume
from softseg.preprocess.standardize import standardize_slices, standardizes_per_slice
from softseg.render.figures.uncertainty import Shown, draw
from softseg.runs.folder import Run, set_suffix

_PAIRS = ("dice", "ece", "ace", "brier")
_TRIPLES = ("retained_error", "rank")


def evaluate_uncertainty(
    run: Run,
    sampling: Sampling,
    console: Console,
    split: str = "test",
    sets: Sequence[str] = (),
    threshold: float | None = None,
) -> pd.DataFrame:
    """Sample a set; write tables and figures/uncertainty-<method>.png into the run's folder.

    Measured within 5 mm of the truth (`metrics.calibration.region`), where the background does not
    decide, of masks that are not postprocessed.

    Args:
        run: a trained run.
        sampling: mc-dropout or tta.
        console: where progress is shown.
        split: the set whose scans are looked at.
        sets: `key=value` changes of the run's configuration.
        threshold: in [0, 1], from which soft value on; None: what a search found, or 0.5.

    Returns:
        uncertainty-<method>.csv: a row a subject and target, with the scores of `judge`.

    Raises:
        UserError: the run cannot be evaluated, or has nothing to vary.
    """
    # a compiled network would go on as it was compiled, without dropout
    trained = open_run(run, console, (split,), [*sets, "trainer.compile=false"])
    check(sampling, trained.predict, trained.experiment.augment, str(run.folder))
    thresholds = thresholds_of(trained, threshold, console)
    rows: list[dict[str, object]] = []
    found: dict[str, list[Judged]] = {target: [] for target in trained.targets}
    for volume, one in _judged(trained, sampling, split, list(thresholds.values()), console):
        for target, judged in zip(trained.targets, one, strict=True):
            found[target].append(judged)
            rows.append({"subject": volume.subject, "target": target, **judged.scores})
    table = pd.DataFrame(rows)
    shown = {target: _shown(ones) for target, ones in found.items()}
    _write(run, _name(sampling, split), table, shown)
    return table


def _judged(
    trained: Trained,
    sampling: Sampling,
    split: str,
    thresholds: Sequence[float],
    console: Console,
) -> Iterator[tuple[StackedVolume, list[Judged]]]:
    """Each volume with what is made of its targets."""
    volumes = trained.stack.volumes_of(getattr(trained.sets, split))
    looks = {"console": console, "transient": True, "disable": not console.is_terminal}
    for volume in track(volumes, f"sampling {split}", **looks):  # type: ignore[arg-type]
        soft, found = _sampled(trained, sampling, volume)
        subject = trained.subjects[volume.subject]
        sample = load_sample(subject, trained.experiment.dataset, every_rater=True)
        zooms, judged = sample.grid.zooms.tolist(), []
        for k, threshold in enumerate(thresholds):
            maps = (soft, found.mean, found.entropy, found.mutual_information)
            raters = sample.raters[k] if len(sample.raters[k]) > 1 else None
            one = Sampled(*(each[k] for each in maps))
            judged.append(judge(one, sample.target[k], raters, threshold, zooms))
        yield volume, judged


def _sampled(
    trained: Trained, sampling: Sampling, volume: StackedVolume
) -> tuple[Float32Array, Uncertainty]:
    """Its deterministic prediction (K, X, Y, Z), and what the samples say."""
    predict, augment = trained.predict, trained.experiment.augment
    image = trained.stack.image[volume.start : volume.stop]
    logits = predict.logits(image)
    softs = soft_samples(sampling, predict, augment, image, logits, _through(trained))
    found = summarize(_native(trained, volume, one) for one in softs)
    return _native(trained, volume, predict.soft(logits)), found


def _through(trained: Trained) -> Through:
    """Straight to the network; a moved slice is standardized again, where training did that."""
    if not standardizes_per_slice(trained.experiment.preprocess):
        return lambda logits_of, image: logits_of(image)

    def standardized(logits_of: Logits, image: Tensor) -> Tensor:
        return logits_of(standardize_slices(image, image.new_zeros(image.shape[:2]))[0])

    return standardized


def _native(trained: Trained, volume: StackedVolume, soft: Tensor) -> Float32Array:
    stacked = trained.experiment.slices.stack(soft)
    return np.stack([volume.geometry.to_native(target) for target in stacked])


def _shown(ones: Sequence[Judged]) -> Shown:
    """Means of the curves over volumes, and the sums of the bins."""
    curves = [one.curves for one in ones if one.curves]
    errors = {n: np.mean([c[n].error for c in curves], axis=0) for n in curves[0]} if curves else {}
    ideal = np.mean([one["without"].ideal for one in curves], axis=0) if curves else None
    bins = {name: reduce(add, (one.bins[name] for one in ones)) for name in ("without", "with")}
    return Shown(errors, ideal, bins)


def _name(sampling: Sampling, split: str) -> str:
    return f"uncertainty-{sampling.method}{set_suffix(split)}"


def _write(run: Run, name: str, table: pd.DataFrame, shown: dict[str, Shown]) -> None:
    write_atomically(run.folder / f"{name}.csv", table.to_csv(index=False))
    parts = [
        pd.DataFrame({"target": target, "by": by, "retained": RETAINED, "error": error})
        for target, one in shown.items()
        for by, error in one.errors.items()
    ]
    if parts:
        curves = pd.concat(parts).to_csv(index=False)
        write_atomically(run.folder / f"{name}-retained.csv", curves)
    draw(shown, run.folder / "figures" / f"{name}.png")


def show(run: Run, sampling: Sampling, table: pd.DataFrame, split: str, console: Console) -> None:
    """Print what the samples add: means over the subjects."""
    title = f"Uncertainty by {sampling.method}, {sampling.samples} samples, {split} set"
    printed = Table(title=title, title_justify="left")
    headings = ("target", "measure", "without", "samples", "mutual information", "scans")
    for heading in headings:
        printed.add_column(heading, justify="left" if heading in headings[:2] else "right")
    for target, rows in table.groupby("target", sort=False):
        for measure in (*_PAIRS, *_TRIPLES):
            other = "with" if measure in _PAIRS else "entropy"
            names = [f"{measure}_{n}" for n in ("without", other, "mutualinfo")]
            if names[0] in rows:
                cells = [f"{rows[n].mean():.4g}" if n in rows else "" for n in names]
                scans = str(rows[names[0]].count())
                heading = escape(HEADINGS[measure].line)
                printed.add_row(escape(str(target)), heading, *cells, scans)
    console.print(printed)
    name = _name(sampling, split)
    said = f"{name}.csv, {name}-retained.csv, figures/{name}.png"
    console.print(f"{run.folder}: {said}", highlight=False, markup=False)
