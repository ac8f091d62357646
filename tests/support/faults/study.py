"""One experiment trained undisturbed, and the states from which disturbed trainings begin."""

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

# no later epoch improves the loss by so much: patience that began anew would train beyond the 6th
STOPS = "trainer.early_stopping={patience: 5, epsilon: 0.9}"
TRAIN = ("train", "tiny.yaml", "--set", "trainer.images_every=1", "--set", STOPS,
         "--set", "trainer.max_epochs=9")  # fmt: skip
RESUME = (*TRAIN, "--resume")  # of nothing too: then it begins
STATES = ("new", "cached", "half")  # nothing is there, or preprocessed scans, or half a run too


@dataclass(frozen=True)
class Study:
    """A project with trainings of the same experiment, to copy from."""

    folder: Path
    calls: dict[str, Counter[str]]  # state -> the changes of the disk from there to the end
    seconds: float  # that the real command takes

    @property
    def whole(self) -> Path:
        """A run that went undisturbed through `python -m softseg train`, and was evaluated."""
        return self.folder / "runs/tiny"

    def copy(self, folder: Path, state: str) -> Path:
        """A project of its own in that state; `done` has the whole run."""
        (folder / "runs").mkdir(parents=True)
        (folder / "data").symlink_to(self.folder / "data")
        shutil.copy(self.folder / "tiny.yaml", folder)
        if state != "new":
            shutil.copytree(self.folder / "runs/.cache", folder / "runs/.cache")
        if state in ("half", "done"):
            run = "half" if state == "half" else "tiny"
            shutil.copytree(self.folder / "runs" / run, folder / "runs/tiny")
        return folder

    def at_one_of(self, calls: tuple[str, ...], state: str, draws: random.Random) -> int:
        """The number of one of these calls, drawn from those that a training makes from there."""
        return draws.randint(1, sum(self.calls[state][call] for call in calls))


def carry_out(folder: Path) -> Study:
    """Train and evaluate through the real command; forked trainings count what they change."""
    project.make(folder)
    new = _well(softseg(folder, *TRAIN, "--out", "runs/new"))
    cached = _well(softseg(folder, *TRAIN, "--out", "runs/cached"))
    began = time.monotonic()
    status, _, err = project.run(folder, *TRAIN)
    seconds = time.monotonic() - began
    assert status == 0, err
    assert len((folder / "runs/tiny/history.csv").read_text().splitlines()) == 1 + 6
    _well(softseg(folder, "eval", "runs/tiny", "--threshold-search"))
    halfway = At(("rename",), cached.calls["rename"] // 2, "SIGTERM")
    assert softseg(folder, *TRAIN, "--out", "runs/half", fault=halfway).status == 130
    shutil.copytree(folder / "runs/half", folder / "runs/resumed")
    half = _well(softseg(folder, *RESUME, "--out", "runs/resumed"))
    calls = {"new": new.calls, "cached": cached.calls, "half": half.calls}
    return Study(folder, calls, seconds)


def _well(ended: Ended) -> Ended:
    assert ended.status == 0, ended
    return ended
