"""The `trainer:` section of a YAML."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler

from softseg.core.component import Component
from softseg.core.device import Precision


class Cosine(Component):
    """Cosine annealing of the learning rate, one step an epoch (SoftSeg 2.3.6)."""

    name: Literal["cosine"] = "cosine"
    minimum: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the end, reached at `max_epochs` whether or not training stops earlier."""

    def __call__(self, optimizer: Optimizer, max_epochs: int) -> LRScheduler:
        """The schedule of one training."""
        return CosineAnnealingLR(optimizer, T_max=max_epochs, eta_min=self.minimum)


class Constant(Component):
    """The same learning rate throughout."""

    name: Literal["constant"] = "constant"

    def __call__(self, optimizer: Optimizer, max_epochs: int) -> LRScheduler:  # noqa: ARG002
        """The schedule of one training."""
        return ConstantLR(optimizer, factor=1.0)


Schedule = Annotated[Cosine | Constant, Field(discriminator="name")]


class EarlyStopping(Component):
    """Stop when the validation loss has not improved for some epochs (SoftSeg Table 1)."""

    patience: Annotated[int, Field(ge=0)] = 50
    """Epochs without improvement before training stops; 0 stops at the first."""
    epsilon: Annotated[float, Field(ge=0)] = 0.001
    """What counts as an improvement: this share of the best value, below it."""


class Trainer(Component):
    """How a network is trained: Adam on mini-batches of slices, validated every epoch."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 8
    """Slices a step."""
    oversample_foreground: Annotated[float, Field(gt=0, le=1)] | None = None
    """How large a part of an epoch's slices hold a target, where they are rare; an epoch stays as
    long as it is. null takes every slice once."""
    max_epochs: Annotated[int, Field(ge=1)] = 200
    """Passes over the training slices, at most; the cosine is spread over them."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Adam's initial learning rate."""
    schedule: Schedule = Cosine()
    """How the learning rate changes: cosine | constant."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """When to stop before `max_epochs`; null never does."""
    clip_gradient: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient of all weights together; null leaves it as it is."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Torch threads, part of what makes a run repeatable; null takes torch's own choice and
    writes it into the run's config.yaml."""
    device: str = "auto"
    """auto (a CUDA GPU, else Apple's, else the CPU) | cpu | cuda | cuda:1 | mps."""
    precision: Precision = "float32"
    """float32 | bf16 (the network only; head, loss and weights stay float32) | auto: bf16 where the
    device computes in it natively; what was chosen is written into the run's config.yaml."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """How feature maps lie in memory; results differ by rounding. auto: channels_last on a CPU and
    for bf16 on a CUDA GPU, where convolutions are faster so, else contiguous; what was chosen is
    written into the run's config.yaml."""
    compile: bool | Literal["reduce-overhead"] = False
    """Compile the network with torch.compile, on a GPU into CUDA graphs if reduce-overhead; the
    first epoch waits for it."""
    images_every: Annotated[int, Field(ge=0)] = 10
    """Epochs between pictures of fixed validation slices in TensorBoard; 0 for none."""

    @field_validator("device")
    @classmethod
    def _known_device(cls, name: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
            raise ValueError(f"must be auto, cpu, mps, cuda or cuda:N, not `{name}`")
        return name
