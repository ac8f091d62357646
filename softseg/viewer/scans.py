"""The scans that are shown, with their predictions and their truth, none of them read yet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.config.yaml.tree import printable
from softseg.core.errors import UserError, combined_error
from softseg.core.files import naming_file, read_json
from softseg.core.names import listing, natural_key
from softseg.data import Subject
from softseg.data.nifti.io import Volume, file_stem, read_volume
from softseg.data.sample import Sample, load_sample
from softseg.evaluation.opened_run import check_changes
from softseg.inference.write import prediction_file
from softseg.runs.folder import (
    ABLATION_FILES,
    Run,
    predictions_folder,
    set_suffix,
    subject_predictions_folder,
)

_log = logging.getLogger(__name__)
_SOFT = "_probseg"
ReadVolume = Callable[[], Volume]
"""Reads a volume when it is shown; raises UserError if it cannot be read."""


@dataclass(frozen=True)
class ViewedTarget:
    """One target of a scan."""

    name: str
    soft: ReadVolume
    truth: ReadVolume | None = None
    threshold: float | None = None
    """With which the binary prediction was made; None: not recorded."""
    dice: float | None = None
    """In %; None: not scored, or undefined."""


@dataclass(frozen=True)
class ViewedScan:
    """One scan: its contrasts, the first of which the predictions are on, and its targets."""

    name: str
    images: dict[str, ReadVolume]
    targets: tuple[ViewedTarget, ...]


def viewed_scans(folder: Path, set_name: str, changes: Sequence[str] = ()) -> list[ViewedScan]:
    """Return the scans of a run's set, or those that `predict` segmented into a folder.

    `changes` are `key=value` changes of the run's configuration, such as dataset.root.

    Raises UserError if there is nothing to show.
    """
    if (folder / "config.yaml").is_file():
        return scans_of_run(Run(folder), set_name, changes)
    if any((folder / name).is_file() for name in ABLATION_FILES):
        raise UserError(f"{folder} is an ablation: name the folder of one of its runs")
    if not folder.is_dir():
        raise UserError(
            f"{folder}: there is no such folder; name a run, or a folder of predictions"
        )
    if set_name != "test" or changes:
        raise UserError(f"{folder} is not a run: leave out --split and --set")
    return scans_of_folder(folder)


def scans_of_run(run: Run, set_name: str, changes: Sequence[str] = ()) -> list[ViewedScan]:
    """Return the scans of a run's set that `eval` has scored, with their truth."""
    scores = _read_scores(run, set_name)
    experiment = load_config(run.config, Experiment, changes)
    check_changes(run, load_config(run.config, Experiment), experiment)
    subjects = {subject.name: subject for subject in experiment.dataset()}
    names = list(dict.fromkeys(scores["subject"]))
    if missing := [name for name in names if name not in subjects]:
        raise UserError(
            f"{experiment.dataset.root} does not contain {listing(missing)}, which the run has "
            "scored; restore these subjects, or name their folder with --set dataset.root=FOLDER"
        )
    # of all targets of the scan that was shown last
    sample_of = lru_cache(maxsize=1)(lambda name: load_sample(subjects[name], experiment.dataset))
    scans, absent = [], []
    for name in names:
        subject, rows = subjects[name], scores[scores["subject"] == name].set_index("target")
        folder = subject_predictions_folder(run, experiment, subject, set_name)
        targets = []
        for k, target in enumerate(experiment.dataset.targets):
            soft = prediction_file(folder, subject.first_image, target, "probseg")
            if target not in rows.index or not soft.is_file():
                absent.append(str(soft))
                continue
            truth = partial(_read_truth, sample_of, name, k)
            threshold, dice = (_number(rows.loc[target].get(key)) for key in ("threshold", "dice"))
            read_soft = partial(read_volume, soft)
            targets.append(ViewedTarget(target, read_soft, truth, threshold, dice))
        if targets:
            scans.append(ViewedScan(name, _images_of(subject), tuple(targets)))
    _check_absent(scans, absent, f"run softseg eval {run.folder} again")
    return scans


def _read_scores(run: Run, set_name: str) -> pd.DataFrame:
    """Return the table of scores of a set, a row per subject and target."""
    path = run.folder / f"metrics{set_suffix(set_name)}.csv"
    option = "" if set_name == "test" else f" --split {set_name}"
    evaluate = f"run softseg eval {run.folder}{option}"
    if not path.is_file():
        folder = predictions_folder(run, set_name).name
        raise UserError(f"{run.folder} has no {folder}/ of its {set_name} set yet: {evaluate}")
    names = dict.fromkeys(("subject", "target"), str)  # one may be "NA"
    try:
        with naming_file(path):
            table = pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {evaluate} again") from None
    if not {"subject", "target"} <= set(table.columns):
        raise UserError(
            f"{path} is damaged: it has no columns subject and target; {evaluate} again"
        )
    return table.drop_duplicates(["subject", "target"])


def _images_of(subject: Subject) -> dict[str, ReadVolume]:
    """Return contrast -> reader of its image."""
    readers: dict[str, ReadVolume] = {}
    for contrast, path in subject.images.items():
        frame = subject.frames.get(contrast)
        of_frame = () if frame is None else (frame.index, frame.count)
        readers[contrast] = partial(read_volume, path, *of_frame)
    return readers


def _read_truth(sample_of: Callable[[str], Sample], name: str, k: int) -> Volume:
    """Read the truth of one target, fused over its raters, on the grid of the first image."""
    sample = sample_of(name)
    return Volume(sample.target[k], sample.grid)


def _number(value: Any) -> float | None:
    """Return a number of a table; None for an empty or absent cell, and for text."""
    number = pd.to_numeric(value, errors="coerce")
    return None if number is None or pd.isna(number) else float(number)


def _check_absent(scans: Sequence[ViewedScan], absent: Sequence[str], remedy: str) -> None:
    """Warn of files that are missing; raise UserError if no scan is left."""
    if absent and not scans:
        raise combined_error(f"there is nothing to show; {remedy}. Missing:", absent)
    if absent:
        _log.warning("not shown, as these are missing: %s; %s", listing(absent), remedy)


def scans_of_folder(folder: Path) -> list[ViewedScan]:
    """Return the scans that `predict` segmented into a folder, of the sources in its JSON files."""
    groups: dict[str, list[_Prediction]] = {}
    for prediction in _predictions_in(folder):
        groups.setdefault(prediction.scan, []).append(prediction)
    if not groups:
        raise UserError(
            f"{folder} holds no predictions of softseg (*_label-*{_SOFT}.nii.gz with a JSON file "
            "each); name a run, or the folder given to softseg predict -o"
        )
    scans, absent = [], []
    for name, predictions in sorted(groups.items(), key=lambda item: natural_key(item[0])):
        sources = predictions[0].sources
        absent += [str(path) for path in sources if not path.is_file()]
        images: dict[str, ReadVolume] = {
            file_stem(path): partial(read_volume, path, predictions[0].frame)
            for path in sources
            if path.is_file()
        }
        if images:
            targets = (ViewedTarget(p.target, p.read, None, p.threshold) for p in predictions)
            scans.append(ViewedScan(name, images, tuple(targets)))
    remedy = "call it in the folder in which softseg predict was called, or restore the scans"
    _check_absent(scans, list(dict.fromkeys(absent)), remedy)
    return scans


@dataclass(frozen=True)
class _Prediction:
    """What a sidecar says of a soft prediction."""

    scan: str
    target: str
    sources: tuple[Path, ...]
    frame: int | None
    threshold: float | None
    read: ReadVolume


def _predictions_in(folder: Path) -> Iterator[_Prediction]:
    """Yield the soft predictions in a folder and below it; others' JSON files are left out."""
    for sidecar in sorted(folder.rglob(f"*{_SOFT}.json"), key=lambda path: natural_key(str(path))):
        metadata = _read_sidecar(sidecar)
        target, sources = metadata.get("Label"), metadata.get("Sources")
        ending = f"_label-{target}{_SOFT}"
        image = next(iter(sidecar.parent.glob(f"{_escaped(sidecar.stem)}.nii*")), None)
        if (
            image is None
            or not sidecar.stem.endswith(ending)
            or not isinstance(sources, list)
            or not all(isinstance(source, str) and "\0" not in source for source in sources)
        ):
            continue
        stem = sidecar.stem.removesuffix(ending)
        mask = _read_sidecar(sidecar.with_name(f"{stem}_label-{target}_mask.json"))
        frame = metadata.get("Frame")
        yield _Prediction(
            scan=printable(str(sidecar.relative_to(folder).with_name(stem))),
            target=str(target),
            sources=tuple(map(Path, sources)),
            frame=frame if isinstance(frame, int) and frame >= 0 else None,
            threshold=_number(mask.get("Threshold")),
            read=partial(read_volume, image),
        )


def _escaped(name: str) -> str:
    """Return a name as a pattern of `glob` that matches this name only."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if there is none or it is not a mapping."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
