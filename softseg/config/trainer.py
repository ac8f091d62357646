"""The `trainer` section: how a network is trained, and on which machine."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler

from softseg.core.component import Component
from softseg.core.device import Precision


class Cosine(Component):
    """Cosine annealing of the learning rate, a step per epoch (Gros et al. 2020, section 2.3.6)."""

    spans_max_epochs: ClassVar[bool] = True

    name: Literal["cosine"] = "cosine"
    minimum: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at `max_epochs`; training that stops earlier does not reach it."""

    def __call__(self, optimizer: Optimizer, max_epochs: int) -> LRScheduler:
        """Return the learning rate schedule of one run."""
        return CosineAnnealingLR(optimizer, T_max=max_epochs, eta_min=self.minimum)


class Constant(Component):
    """The same learning rate throughout."""

    spans_max_epochs: ClassVar[bool] = False

    name: Literal["constant"] = "constant"

    def __call__(self, optimizer: Optimizer, max_epochs: int) -> LRScheduler:  # noqa: ARG002
        """Return the learning rate schedule of one run."""
        return ConstantLR(optimizer, factor=1.0)


Schedule = Annotated[Cosine | Constant, Field(discriminator="name")]


class EarlyStopping(Component):
    """Stop when the validation loss has not improved for some epochs (SoftSeg Table 1)."""

    rule: Literal["best", "published"] = "best"
    """What an epoch is compared with. best: the loss of the last improvement; each improvement
    starts the count of epochs anew. published: the epoch before, as in the paper's code, where
    nothing resets the count. Not recommended: as the validation loss goes up and down from epoch to
    epoch, training stops after about `patience` epochs in which it went up, whether it still gets
    lower or not."""
    patience: Annotated[int, Field(ge=0)] = 50
    """Number of epochs without improvement after which training stops: in a row with rule: best, in
    all with rule: published; 0 stops at the first."""
    epsilon: Annotated[float, Field(ge=0)] = 0.001
    """Minimum decrease of the validation loss that counts as an improvement. best: as a fraction of
    the loss of the last improvement (0.001 is 0.1 %). published: in percent of the new loss (0.001
    is 0.001 %)."""


class Trainer(Component):
    """How a network is trained: Adam on mini-batches of slices, validated every epoch."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 8
    """Number of slices in one training step."""
    oversample_foreground: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of an epoch's slices that contain a target, if fewer do; the number of slices in an
    epoch stays the same. null: each slice once."""
    max_epochs: Annotated[int, Field(ge=1)] = 200
    """Maximum number of passes over the training slices; the cosine schedule spans all of them."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Adam's initial learning rate."""
    schedule: Schedule = Cosine()
    """Change of the learning rate over the epochs: cosine | constant."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """When to stop before `max_epochs`. null: never."""
    clip_gradient: Annotated[float, Field(gt=0)] | None = None
    """Maximum norm of the gradient over all weights. null: no clipping."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of torch threads; a run is repeatable only with the same number. null: torch's own
    choice, which is written to the run's config.yaml."""
    device: str = "auto"
    """auto (a CUDA GPU, else an Apple GPU, else the CPU) | cpu | cuda | cuda:1 | mps."""
    precision: Precision = "float32"
    """float32 | bf16 (the network only; head, loss and weights stay float32) | tf32 (float32, with
    convolutions in TF32, whose factors have 11 bits; NVIDIA GPUs from Ampere on) | auto (bf16 on
    NVIDIA GPUs from Ampere on and CPUs with AMX or AVX512-bf16, where it is faster, else float32;
    the choice is written to the run's config.yaml). float32 never means TF32."""
    deterministic: bool = False
    """Whether training on a CUDA GPU gives the same bits on every repeat and after every resume, on
    the same GPU with the same versions. Takes longer: neither the fastest convolutions nor torch's
    own upsampling can be used. A CPU gives the same bits without it; an Apple GPU cannot."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Memory layout of feature maps; results differ by rounding. auto: channels_last on a CPU and
    for bf16 on a CUDA GPU, where it makes convolutions faster, else contiguous; the choice is
    written to the run's config.yaml."""
    compile: bool | Literal["reduce-overhead"] = False
    """Whether to compile the network with torch.compile; reduce-overhead: into CUDA graphs, on a
    GPU. The first epoch takes longer. A smaller last batch of an epoch is not compiled."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Minimum number of seconds between checkpoints, which a thread writes while training goes on;
    0: after every epoch, as far as the disk keeps up. A checkpoint is also written at the end, and
    when training is interrupted or fails. A run that is killed (kill -9, a power failure) repeats
    at most this time, the epoch it was in, and what it trained while a checkpoint was written."""
    logger: Literal["tensorboard", "mlflow"] = "tensorboard"
    """Where epochs are logged in addition to history.csv: tensorboard (the run's folder
    tensorboard/) | mlflow (also the database mlflow/mlflow.db in the run's folder; needs `pip
    install softseg[mlflow]`; nothing leaves the machine)."""
    images_every: Annotated[int, Field(ge=0)] = 10
    """Number of epochs between images of fixed validation slices in TensorBoard, one for each
    target; the last epoch has them, too. 0: no images."""

    @field_validator("device")
    @classmethod
    def _valid_device(cls, name: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
            raise ValueError(f"must be auto, cpu, mps, cuda or cuda:N, not `{name}`")
        return name
