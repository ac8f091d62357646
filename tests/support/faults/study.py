"""An undisturbed run, and the states in which disturbed runs start."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support import project
from tests.support.faults.child import Ended, softseg
from tests.support.faults.injected import At

# no later epoch improves the loss by so much: if resuming reset the patience, training would
# continue after the 6th epoch
STOPS = "trainer.early_stopping={patience: 5, epsilon: 0.9}"
TRAIN = ("train", "tiny.yaml", "--set", "trainer.images_every=1", "--set", STOPS,
         "--set", "trainer.max_epochs=9")  # fmt: skip
RESUME = (*TRAIN, "--resume")  # without a run, it starts one
STATES = ("new", "cached", "half")  # no files; a filled cache; a filled cache and half a run


@dataclass(frozen=True)
class Study:
    """A project with runs of the same experiment, from which tests copy."""

    folder: Path
    calls: dict[str, Counter[str]]  # state -> disk operations from there to the end
    seconds: float  # duration of the real command

    @property
    def finished(self) -> Path:
        """An undisturbed run of `python -m softseg train`, evaluated."""
        return self.folder / "runs/tiny"

    def copy(self, folder: Path, state: str) -> Path:
        """Copy the project in a state; in the state `done` it has the finished run."""
        (folder / "runs").mkdir(parents=True)
        (folder / "data").symlink_to(self.folder / "data")
        shutil.copy(self.folder / "tiny.yaml", folder)
        if state != "new":
            shutil.copytree(self.folder / "runs/.cache", folder / "runs/.cache")
        if state in ("half", "done"):
            run = "half" if state == "half" else "tiny"
            shutil.copytree(self.folder / "runs" / run, folder / "runs/tiny")
        return folder

    def random_call(self, calls: tuple[str, ...], state: str, rng: random.Random) -> int:
        """Return the number of a random one of these calls in a run from this state on."""
        return rng.randint(1, sum(self.calls[state][call] for call in calls))


def run_study(folder: Path, checkpoint_seconds: int, axes: int) -> Study:
    """Train and evaluate with the real command; forked processes count their disk operations.

    With checkpoints after every epoch, half a run is one that was interrupted; else it was killed,
    so that its history is ahead of its checkpoint.
    """
    project.make(folder, f"  checkpoint_seconds: {checkpoint_seconds}\n", axes)
    new = _succeeded(softseg(folder, *TRAIN, "--out", "runs/new"))
    cached = _succeeded(softseg(folder, *TRAIN, "--out", "runs/cached"))
    start = time.monotonic()
    status, _, err = project.run(folder, *TRAIN)
    seconds = time.monotonic() - start
    assert status == 0, err
    assert len((folder / "runs/tiny/history.csv").read_text().splitlines()) == 1 + 6
    _succeeded(softseg(folder, "eval", "runs/tiny", "--threshold-search"))
    how, status = ("SIGKILL", -9) if checkpoint_seconds else ("SIGTERM", 130)
    halfway = At(("rename",), cached.calls["rename"] // 2, how)
    assert softseg(folder, *TRAIN, "--out", "runs/half", fault=halfway).status == status
    shutil.copytree(folder / "runs/half", folder / "runs/resumed")
    half = _succeeded(softseg(folder, *RESUME, "--out", "runs/resumed"))
    calls = {"new": new.calls, "cached": cached.calls, "half": half.calls}
    return Study(folder, calls, seconds)


def _succeeded(ended: Ended) -> Ended:
    assert ended.status == 0, ended
    return ended
