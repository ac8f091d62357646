"""A small model with every kind of field that an experiment has, for tests of softseg.config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from softseg.core.component import Component, SingleKey


class Dice(Component):
    """Overlap."""

    name: Literal["dice"] = "dice"
    smooth: float = Field(default=1.0, ge=0)
    """Added to numerator and denominator."""
    per: Literal["batch", "sample"] = "batch"
    """What one Dice is computed over."""


class Wing(Component):
    """A regression loss."""

    name: Literal["wing", "adaptive_wing"] = "wing"
    omega: float = Field(default=8.0, gt=0)
    """Height of the curve, in units of loss."""
    theta: float = Field(gt=0, le=1)
    """Where the curve turns linear."""


class Head(Component):
    """What turns logits into shares."""

    name: Literal["sigmoid"] = "sigmoid"
    prior: float | None = Field(default=None, gt=0, lt=1)
    """Expected share of foreground."""


class Net(Component):
    """A network."""

    name: Literal["net"] = "net"
    depth: int = Field(default=3, ge=1, le=6)
    """Number of levels."""
    head: Head = Head()
    """The last layer."""


class Affine(Component):
    """Rotates and moves image and target together."""

    name: Literal["affine"] = "affine"
    rotation: float = Field(default=20.0, ge=0)
    """Largest rotation in degrees."""
    scale: tuple[float, float] = (0.9, 1.1)
    """Smallest and largest factor."""


class Binarize(Component):
    """Hardens the target."""

    name: Literal["binarize"] = "binarize"
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Foreground is at or above it."""


class Target(Component):
    """One output of the net."""

    values: list[int] = Field(min_length=1)
    """Codes of the mask that are foreground."""


class Stopping(Component):
    """When to stop early."""

    patience: int = Field(default=50, ge=0)
    """Epochs without improvement."""
    epsilon: float = 0.001
    """Relative improvement that counts."""


class Trainer(Component):
    """How to train."""

    batch_size: int = Field(default=8, ge=1)
    """Slices in one step."""
    max_epochs: int = Field(default=200, ge=1)
    """At most this many epochs."""
    early_stopping: Stopping | None = Stopping()
    """Null: never stop early."""
    threads: int | Literal["auto"] | None = None
    """Threads of the processor; null leaves the choice to the library."""
    compile: bool = False
    """Whether to compile the network."""

    @model_validator(mode="after")
    def _patience_within_epochs(self) -> Self:
        if self.early_stopping and self.early_stopping.patience > self.max_epochs + 1000:
            raise ValueError("patience is far longer than max_epochs; lower it")
        return self


Loss = Annotated[Dice | Wing, Field(discriminator="name")]
Step = Annotated[Affine | Binarize, SingleKey]


class Files(Component):
    """Scans found by path patterns."""

    loader: Literal["files"] = "files"
    root: Path
    """Folder of the scans."""
    targets: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")], Target]
    """What to segment. Each target is one channel."""


class Bids(Component):
    """Scans of a BIDS dataset."""

    loader: Literal["bids"] = "bids"
    root: Path
    """Folder of the dataset."""
    suffix: str = "T1w"
    """The scans' suffix."""


class Toy(Component):
    """A small experiment."""

    name: str
    """Name of the run and of its folder."""
    seed: int = 0
    """Seed of every random stream; two runs with the same seed, configuration and number of
    threads on the same processor end with the same bits."""
    dataset: Annotated[Files | Bids, Field(discriminator="loader")]
    """Where the scans come from."""
    augment: tuple[Step, ...] = ()
    """Steps applied to each batch."""
    zooms: tuple[float | None, float | None, float | None] = (0.25, 0.25, None)
    """Voxel size in mm; null keeps an axis as it is."""
    test: list[str | int] | Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Which subjects to test on: a list, their number, or their share."""
    model: Net = Net()
    """The network."""
    loss: Loss = Dice()
    """What to minimize."""
    auxiliary: Loss | None = None
    """A second loss."""
    trainer: Trainer = Trainer()
    """How to train."""


VALID = """\
name: toy
dataset:
  loader: files
  root: data
  targets: {gm: {values: [1]}}
augment:
  - affine: {rotation: 10}
  - binarize:
loss: {name: wing, theta: 0.5}
trainer:
  max_epochs: 5
"""

Write = Callable[..., Path]
