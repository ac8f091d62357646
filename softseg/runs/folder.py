"""A run's folder: where things are in it, whether it may be written to, and which is the newest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.core.files import delete_folder, read_json, temporary_files, write_atomically
from softseg.data import Subject


@dataclass(frozen=True)
class Run:
    """Paths of one run's folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """The fully resolved configuration."""
        return self.folder / "config.yaml"

    @property
    def split(self) -> Path:
        """Which subject is in which set."""
        return self.folder / "split.json"

    @property
    def last(self) -> Path:
        """The checkpoint that resumes."""
        return self.folder / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        """The weights with the lowest validation loss."""
        return self.folder / "checkpoints" / "best.pt"

    @property
    def threshold(self) -> Path:
        """The threshold that a search found, its curve, and on which subjects."""
        return self.folder / "threshold.json"

    @property
    def log(self) -> Path:
        """What the run printed where it ran as one of many; beside its folder."""
        return self._beside("log")

    @property
    def failure(self) -> Path:
        """Why its last attempt failed, where it did; beside its folder."""
        return self._beside("failed")

    def _beside(self, kind: str) -> Path:
        folder = self.folder.resolve() if not self.folder.name else self.folder  # of "." or ".."
        return folder.with_name(f"{folder.name}.{kind}")

    def exists(self) -> bool:
        """Whether this is the folder of a training that began: run.json is written first."""
        return "status" in self.metadata()

    def metadata(self) -> dict[str, Any]:
        """What run.json holds; empty where there is none that can be read."""
        try:
            known = read_json(self.folder / "run.json")
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    @property
    def damaged(self) -> bool:
        """Whether there is a run.json that cannot be read."""
        return (self.folder / "run.json").is_file() and not self.metadata()

    def changed_subjects(self, data: dict[str, str]) -> list[str]:
        """The subjects whose data are not those of the training, by their fingerprints."""
        began = self.metadata().get("data_fingerprint", {})
        return [name for name, digest in data.items() if began.get(name, digest) != digest]

    def update_metadata(self, **facts: Any) -> None:
        """Add to run.json. Raises UserError where it cannot be read: all in it would be lost."""
        if self.damaged:
            raise UserError(
                f"{self.folder / 'run.json'} is damaged; restore it from a copy, or train again"
            )
        text = json.dumps({**self.metadata(), **facts}, indent=2) + "\n"
        write_atomically(self.folder / "run.json", text)


def timestamp() -> str:
    """The time as run.json writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def check_folder(run: Run, resume: bool, overwrite: bool) -> None:
    """Refuse to train into a folder that holds something, unless told how. Changes nothing."""
    if overwrite and run.folder.is_symlink():
        raise UserError(
            f"{run.folder} is a link; name the folder that it leads to, or choose another --out"
        )
    if not _taken(run.folder) or (resume and run.exists()):
        return
    if run.damaged:
        facts = run.folder / "run.json"
        raise UserError(f"{facts} is damaged; restore it from a copy, or choose another --out")
    if resume:
        raise UserError(f"{run.folder} is not a softseg run, so there is nothing to resume in it")
    if not overwrite:
        message = (
            f"{run.folder} exists already; add --resume or --overwrite, or choose another --out"
        )
        raise UserError(message)
    if not run.exists():
        raise UserError(f"{run.folder} is not a softseg run, so --overwrite leaves it alone")


def _taken(folder: Path) -> bool:
    if not folder.is_dir():
        return folder.exists()
    parts = temporary_files(folder)
    return any(path not in parts for path in folder.iterdir())


def create_folder(run: Run, overwrite: bool) -> None:
    """Make the folder of a run that `check_folder` has let pass."""
    if overwrite and run.folder.exists():
        # cut short, it can still be overwritten, and not be resumed with weights of another run
        delete_folder(run.folder, first=run.last, last=run.folder / "run.json")
    run.folder.mkdir(parents=True, exist_ok=True)
    for part in temporary_files(run.folder):  # what a killed process was writing
        part.unlink()


def find_run(name: str | None, root: Path = Path("runs")) -> Run:
    """The run of this folder, or the newest finished training under `root` (ablations' too).

    Raises UserError when there is none.
    """
    if name is not None:
        run = Run(Path(name))
        if not run.config.is_file():
            raise UserError(f"{name} is not a softseg run: it has no config.yaml")
        return run
    done = [Run(path.parent) for path in root.rglob("run.json")]
    done = [run for run in done if run.metadata().get("status") == "finished"]
    if not done:
        raise UserError(f"no finished training under {root}/; train first or name a run's folder")
    return max(done, key=lambda run: str(run.metadata().get("finished", "")))


def is_done(run: Run) -> bool:
    """Trained and scored: the mark is written last."""
    return "done" in run.metadata()


def seconds_by_stage(run: Run) -> dict[str, float]:
    """Stage -> seconds, over all sittings of a run."""
    history = read_history(run.folder)
    evaluation = float(run.metadata().get("evaluation_seconds", 0.0))
    spent = {"training": 0.0, "validation": 0.0, "threshold search and scoring": evaluation}
    if not history.empty:
        spent["training"] = float(history["train_seconds"].sum())
        spent["validation"] = float(history["val_seconds"].sum())
    return spent


def set_suffix(split: str) -> str:
    """What the names of a set's files end in: nothing for the test set, which a report is of."""
    return "" if split == "test" else f"-{split}"


def predictions_folder(run: Run, split: str = "test") -> Path:
    """The folder of the predictions for a set; a report shows those for the test set alone."""
    return run.folder / f"predictions{set_suffix(split)}"


def subject_predictions_folder(
    run: Run, experiment: Experiment, subject: Subject, split: str = "test"
) -> Path:
    """The folder of a subject's predictions: where its first image lies in the data set."""
    first = next(iter(subject.images.values()))
    place = first.parent.relative_to(experiment.dataset.existing_root())
    return predictions_folder(run, split) / place


def read_history(folder: Path) -> pd.DataFrame:
    """A run's history.csv, a row an epoch; empty where there is none."""
    try:
        return pd.read_csv(folder / "history.csv")
    except (OSError, ValueError):
        return pd.DataFrame()
