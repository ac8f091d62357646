"""A run's folder: its files and metadata, whether it may be written to, which is the newest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import Timeout

from softseg.config.experiment import Experiment
from softseg.core.errors import UserError, combined_error
from softseg.core.files import (
    delete_folder,
    naming_file,
    read_json,
    remove_leftovers,
    shared_files,
    temporary_files,
    write_json,
)
from softseg.core.locks import file_lock
from softseg.core.names import did_you_mean, listing
from softseg.data import Subject
from softseg.data.nifti.io import file_stem

ABLATION_FILES = ("ablation.yaml", "plan.json")
"""The configuration and the plan in an ablation's folder."""
_PATIENCE = 60.0  # seconds that an update of run.json may wait for others; each takes milliseconds


@dataclass(frozen=True)
class Run:
    """The paths in one run's folder, and the metadata in its run.json."""

    folder: Path

    @property
    def config(self) -> Path:
        """The fully resolved configuration."""
        return self.folder / "config.yaml"

    @property
    def split(self) -> Path:
        """The subjects of each set."""
        return self.folder / "split.json"

    @property
    def last(self) -> Path:
        """The last checkpoint, from which training resumes; of the last epoch unless killed."""
        return self.folder / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        """The weights with the lowest validation loss."""
        return self.folder / "checkpoints" / "best.pt"

    @property
    def threshold(self) -> Path:
        """The threshold of each target, its curve, and the subjects of the search."""
        return self.folder / "threshold.json"

    @property
    def metadata_lock(self) -> Path:
        """The file with which run.json is locked while it is updated; it stays."""
        return self.folder / ".run.json.lock"

    @property
    def log(self) -> Path:
        """The console output of a run that is one of many; it is next to the run's folder."""
        return self._next_to_folder("log")

    @property
    def failure(self) -> Path:
        """Why the last attempt failed, if it did; it is next to the run's folder."""
        return self._next_to_folder("failed")

    def _next_to_folder(self, kind: str) -> Path:
        folder = self.folder.resolve() if not self.folder.name else self.folder  # "." or ".."
        return folder.with_name(f"{folder.name}.{kind}")

    @property
    def ablation(self) -> Path | None:
        """The ablation's folder `x` of a run `x/<candidate>/split-<k>`; None for any other run."""
        folder = self.folder.resolve()  # a link to such a run is part of the ablation, too
        if len(folder.parents) < 2 or not re.fullmatch(r"split-\d+", folder.name):
            return None
        above = folder.parents[1]
        return above if any((above / name).is_file() for name in ABLATION_FILES) else None

    def exists(self) -> bool:
        """Whether training has started in this folder: run.json is written first."""
        return "status" in self.metadata()

    @property
    def scored(self) -> bool:
        """Whether `eval` has scored the run on its test set."""
        return "scored_epoch" in self.metadata()

    def metadata(self) -> dict[str, Any]:
        """Return the content of run.json; empty if there is none or it is damaged.

        Raises OSError if it cannot be read: a run that has started must not look like a new one.
        """
        try:
            metadata = read_json(self.folder / "run.json")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            return {}
        return metadata if isinstance(metadata, dict) else {}

    @property
    def damaged(self) -> bool:
        """Whether there is a run.json that cannot be read."""
        return (self.folder / "run.json").is_file() and not self.metadata()

    def update_metadata(self, **fields: Any) -> None:
        """Set fields of run.json, one process at a time: training and `eval` may both write to it.

        Raises UserError if run.json cannot be read: all that it holds would be lost.
        """
        try:
            with file_lock(self.metadata_lock, _PATIENCE):
                if self.damaged:
                    raise UserError(
                        f"{self.folder / 'run.json'} is damaged; restore it from a copy, or train "
                        "again with --overwrite"
                    )
                write_json(self.folder / "run.json", {**self.metadata(), **fields})
        except Timeout:
            raise UserError(
                f"{self.metadata_lock}: another process has held this lock for {_PATIENCE:.0f} s; "
                "end it, and run the command again"
            ) from None

    def changed_subjects(self, fingerprints: dict[str, str]) -> list[str]:
        """Return the subjects whose data differ from those of the training."""
        recorded = self.metadata().get("data_fingerprint", {})
        return [
            name for name, digest in fingerprints.items() if recorded.get(name, digest) != digest
        ]


def timestamp() -> str:
    """Return the current time as run.json records it: UTC, in ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def check_folder(run: Run, resume: bool, overwrite: bool) -> None:
    """Raise UserError if the folder is not empty and may be neither resumed nor overwritten."""
    if overwrite and run.folder.is_symlink():
        raise UserError(
            f"{run.folder} is a symbolic link, which --overwrite does not follow; name its target, "
            "or choose another --out"
        )
    if not _in_use(run) or (resume and run.exists()):
        return
    if run.damaged:
        raise UserError(
            f"{run.folder / 'run.json'} is damaged; restore it from a copy, or choose another --out"
        )
    if resume:
        raise UserError(f"{run.folder} is not a softseg run, so there is nothing to resume in it")
    if not overwrite:
        raise UserError(
            f"{run.folder} exists already; add --resume or --overwrite, or choose another --out"
        )
    if not run.exists():
        raise UserError(f"{run.folder} is not a softseg run, so --overwrite does not delete it")


def _in_use(run: Run) -> bool:
    """Whether a path is a file, or a folder with more in it than a killed process's files."""
    if not run.folder.is_dir():
        return run.folder.exists()
    leftovers = {*temporary_files(run.folder), run.metadata_lock}
    return any(path not in leftovers for path in run.folder.iterdir())


def create_folder(run: Run, overwrite: bool) -> None:
    """Create the folder of a run that has passed `check_folder`."""
    if overwrite and run.folder.exists():
        # without its checkpoint, a half-deleted run can be overwritten but not resumed with
        # weights of another run
        delete_folder(run.folder, first=run.last, last=run.folder / "run.json")
    run.folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(temporary_files(run.folder))


def find_run(name: str | None, root: Path = Path("runs")) -> Run:
    """Return the run of a folder, or the newest finished run under `root` outside of ablations.

    Raises UserError if there is none.
    """
    if name is not None:
        run = Run(Path(name))
        if not run.config.is_file():
            raise UserError(f"{name} is not a softseg run: {_why_no_run(run, root)}")
        return run
    runs = [Run(path.parent) for path in root.rglob("run.json")]
    finished = [run for run in runs if run.metadata().get("status") == "finished"]
    alone = [run for run in finished if run.ablation is None]
    if not alone:
        outside = " outside of an ablation" if finished else ""
        raise UserError(
            f"there is no finished run in {root}/{outside}; train first, or name a run's folder"
        )
    return max(alone, key=lambda run: str(run.metadata().get("finished", "")))


def _why_no_run(run: Run, root: Path) -> str:
    """Why a folder without config.yaml is not a run, with the runs there are."""
    if any((run.folder / name).exists() for name in ABLATION_FILES):
        names = [str(path.parent) for path in run.folder.glob("*/*/config.yaml")]
        return "it is the folder of an ablation" + (f"; runs are {listing(names)}" if names else "")
    if run.folder.exists():
        return "it has no config.yaml"
    places = {run.folder.parent, root}
    names = [str(path.parent) for place in places for path in place.glob("*/config.yaml")]
    runs = f"; runs are {listing(names)}" if names else ""
    return f"there is no such folder{did_you_mean(str(run.folder), names)}{runs}"


def is_done(run: Run) -> bool:
    """Whether a run of an ablation is trained and scored; its `done` mark is written last."""
    return "done" in run.metadata()


def seconds_by_stage(run: Run) -> dict[str, float]:
    """Return the seconds that each stage of a run took, over all its sessions."""
    history = read_history(run.folder)
    evaluation = float(run.metadata().get("evaluation_seconds", 0.0))
    seconds = {"training": 0.0, "validation": 0.0, "threshold search and scoring": evaluation}
    if not history.empty:
        seconds["training"] = float(history["train_seconds"].sum())
        seconds["validation"] = float(history["val_seconds"].sum())
    return seconds


def read_history(folder: Path) -> pd.DataFrame:
    """Return a run's history.csv, one row per epoch; empty if there is none or it is damaged."""
    path = folder / "history.csv"
    try:
        with naming_file(path):
            return pd.read_csv(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return pd.DataFrame()


def set_suffix(set_name: str) -> str:
    """Return the suffix of a set's file names: empty for the test set, which reports show."""
    return "" if set_name == "test" else f"-{set_name}"


def predictions_folder(run: Run, set_name: str = "test") -> Path:
    """Return the folder of the predictions for a set."""
    return run.folder / f"predictions{set_suffix(set_name)}"


def subject_predictions_folder(
    run: Run, experiment: Experiment, subject: Subject, set_name: str = "test"
) -> Path:
    """Return the folder of a subject's predictions: that of its first image in the dataset."""
    return predictions_folder(run, set_name) / _image_folder(experiment, subject)


def _image_folder(experiment: Experiment, subject: Subject) -> Path:
    """Return the folder of a subject's first image, relative to the root of the dataset."""
    return subject.first_image.parent.relative_to(experiment.dataset.existing_root())


def check_distinct_predictions(
    experiment: Experiment, subjects: Iterable[Subject], folder: Path = Path("predictions")
) -> None:
    """Raise UserError if predictions for several of these subjects would have the same files.

    They are named after the first image, which two subjects may share, and `x.nii` and `x.nii.gz`
    have the same name. `folder` is that of the predictions.
    """
    writers = []
    for subject in subjects:
        stem = folder / _image_folder(experiment, subject) / file_stem(subject.first_image)
        for target in experiment.dataset.targets:
            name = stem.with_name(f"{stem.name}_label-{target}_*.nii.gz")
            writers.append((name, f"{subject.name} ({subject.first_image})"))
    if problems := shared_files(writers, folder):
        raise combined_error(
            "predictions for several subjects would be written to the same file; rename their "
            "images, or leave subjects out with dataset.exclude:",
            problems,
        )
