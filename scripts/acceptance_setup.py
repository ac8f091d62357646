"""What the checks of `scripts/gpu_acceptance` train: the paper's SCGM network on a phantom."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

from bench_gpu import Setting, paper_experiment
from bench_parts import phantom, start_training
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.core import device as hardware
from softseg.datasets.phantom import write_phantom
from softseg.runs.data import PreparedData, prepare_data
from softseg.training.task import State, Task

# for a walk through all checks on a CPU
SMALL = (
    "model.filters=2", "model.depth=2", "trainer.threads=1",
    "preprocess.1.resample.zooms=[1, 1, null]", "preprocess.2.crop.size=[32, 32]",
)  # fmt: skip
QUIET = Console(quiet=True)


@dataclass
class Setup:
    """The device of the checks, the data, and trainings on them."""

    device: str  # cuda:0, or cpu for a walk through all checks with a small network
    folder: Path  # for everything that the checks write
    values: dict[str, dict[str, Any]] = field(default_factory=dict)  # name of a check -> its values

    @property
    def gpu(self) -> bool:
        """Whether the checks run on a GPU."""
        return self.device.startswith("cuda")

    @cached_property
    def root(self) -> Path:
        """The folder of the phantom."""
        if not self.gpu:
            write_phantom(self.folder / "phantom", "scgm", subjects=4)
        return phantom(self.folder)

    @cached_property
    def prepared(self) -> PreparedData:
        """The slices of the phantom, on the CPU."""
        return prepare_data(self.experiment(), QUIET)

    @property
    def changes(self) -> tuple[str, ...]:
        """The assignments that make the network small on a CPU."""
        return () if self.gpu else SMALL

    def experiment(self, *changes: str, device: str | None = None) -> Experiment:
        """Return the paper's experiment with some changes, resolved for the device."""
        setting = Setting(device or self.device, (*self.changes, *changes))
        return paper_experiment(self.root.parent, setting)

    def training(self, *changes: str, device: str | None = None) -> tuple[State, Task]:
        """Return a new network and its task."""
        return start_training(self.experiment(*changes, device=device), self.prepared)

    def training_from_host(self, *changes: str) -> tuple[State, Task]:
        """Return the same with the slices on the host, as if the device had no room for them."""
        with mock.patch.object(hardware, "has_room", return_value=False):
            return self.training(*changes)
