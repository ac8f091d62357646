"""What `scripts/compare` asks of each system that it compares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from compare_budget import Command
from compare_environments import Installation
from compare_sets import Fold

from softseg.core.errors import UserError
from softseg.core.types import Float32Array
from softseg.data.splits import write_split

PEERS = Path(__file__).parent / "compare_peers"


class System:
    """A way to train and predict, as commands; its files of a training are in one folder."""

    name: str
    unit: ClassVar[str]
    """What the length of a training is counted in."""
    calibration: ClassVar[tuple[int, int]]
    """Lengths of two short trainings, from which the time of a longer one follows."""
    environment: ClassVar[Installation | None] = None
    """None: softseg's own."""
    is_3d = False

    def __init__(self, environments: Path) -> None:
        """`environments` is the folder of the peers' environments."""
        self.environments = environments

    def python(self) -> str:
        """Return the Python of its environment, which is made if it is not there yet."""
        assert self.environment is not None
        return str(self.environment.python(self.environments))

    def reason_to_skip(self, fold: Fold) -> str:
        """Return why it cannot be installed, or trained on this dataset; or ''."""
        if self.is_3d and not fold.data_set.recipe_3d:
            return "it is 3D, and these are images"
        try:
            if self.environment is not None:
                self.environment.python(self.environments)
        except UserError as error:
            return str(error)
        return ""

    def prepare(self, fold: Fold) -> None:
        """Write what trainings of a fold need, once; its time is not counted."""
        fold.folder.mkdir(parents=True, exist_ok=True)
        write_split(fold.split_file, fold.sets)

    def train(self, fold: Fold, folder: Path, units: int) -> Command:
        """Return the command that trains for this length, with its files in `folder`."""
        raise NotImplementedError

    def finish(self, fold: Fold, folder: Path) -> Command | None:
        """Return what follows a training before scans can be predicted; None: nothing."""

    def threshold(self, fold: Fold, folder: Path) -> float:  # noqa: ARG002
        """Return the probability from which a voxel is foreground."""
        return 0.5

    def predict(self, fold: Fold, folder: Path, names: Sequence[str], out: Path) -> Command:
        """Return the command that writes soft predictions of these test scans to `out`."""
        raise NotImplementedError

    def soft(self, fold: Fold, name: str, out: Path) -> Float32Array:
        """Read the soft prediction (X, Y, Z) of a scan, on the scan's grid."""
        raise NotImplementedError

    def lines(self, fold: Fold) -> int:
        """Return how many lines of configuration, code and commands a user writes."""
        raise NotImplementedError


def lines_of(*files: Path) -> int:
    """Return how many lines files have that are neither empty nor comments."""
    lines = [line.strip() for file in files for line in file.read_text().splitlines()]
    return sum(bool(line) and not line.startswith("#") for line in lines)
