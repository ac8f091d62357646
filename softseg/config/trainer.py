"""The `trainer` section: how a network is trained, and on which machine."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from softseg.config.optimizers import Adam, OptimizerSpec
from softseg.config.schedules import Cosine, Schedule
from softseg.core.component import Component
from softseg.core.device import Precision


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


class Average(Component):
    """Validate and keep an average of the weights of all updates so far (Polyak averaging).

    After update t (counted from 1) the average is d times the one before plus 1 - d times the
    weights, with d = min(`decay`, (t - 1) / (t + 8)). So the random initial weights have no share
    in it, and early in training it follows the weights more closely.

    Example: `average: {decay: 0.99}`
    """

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the average that an update leaves as it is: 0.99 averages over about the last 100
    updates, 0.999 over the last 1000."""

    def decay_at(self, update: int) -> float:
        """Return d of an update, counted from 1."""
        return min(self.decay, (update - 1) / (update + 8))


class Trainer(Component):
    """How a network is trained: gradient descent on mini-batches, validated every epoch."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 8
    """Number of samples (slices, or patches of a 3D network) in one training step."""
    accumulate: Annotated[int, Field(ge=1, le=65536)] = 1
    """Number of batches whose gradients are averaged for one update of the weights: as a batch of
    `accumulate` x `batch_size` samples, in the memory of one batch. The same gradient, except for
    what looks at a whole batch: batch norm, NormReLU's maximum over the batch, `batch_dice: true`,
    and the mean over voxels where some are ignored or weighted; these see one batch at a time. The
    last update of an epoch has the batches that are left."""
    oversample_foreground: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of an epoch's slices that contain a target, if fewer do; the number of slices in an
    epoch stays the same. With a 3D network: fraction of the patches that are cut around a voxel of
    a target. null: each slice once, patches at random places."""
    max_epochs: Annotated[int, Field(ge=1)] = 200
    """Maximum number of passes over the training slices or volumes; the schedules cosine and poly
    span all of them."""
    optimizer: OptimizerSpec = Adam()
    """How the weights follow the gradient: adam | adamw | sgd."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Learning rate with which the schedule begins. sgd needs a larger one than adam and adamw,
    such as 0.01."""
    schedule: Schedule = Cosine()
    """Change of the learning rate over the epochs: cosine | poly | constant."""
    warm_up: Annotated[int, Field(ge=0)] = 0
    """Number of epochs before the schedule, in which the learning rate increases linearly: with W
    epochs it is 1 / (W + 1), 2 / (W + 1), ... of `learning_rate`. The schedule spans the epochs
    that are left. 0: none."""
    uninterpolated_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of `max_epochs`, at the end, in which no step of `augment` interpolates or mixes
    masks (affine, elastic, mixup, RandomAffine and RandomElasticDeformation): these blur masks and
    scans, so that predictions have too wide edges. Other steps remain. The number of these epochs
    is rounded. Needs `early_stopping: null`, since training might stop before them."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """When to stop before `max_epochs`. null: never."""
    clip_gradient: Annotated[float, Field(gt=0)] | None = None
    """Maximum norm of the gradient over all weights. null: no clipping."""
    average: Average | None = None
    """An exponential moving average of the weights, as `{decay: 0.99}`. It is validated instead of
    the weights, decides which epoch is the best, and is what eval, predict and package use; batch
    norm's running statistics and NormReLU's running maximum are averaged in the same way. null:
    the weights themselves."""
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
    checkpoint_blocks: bool = False
    """Whether the backward pass computes the blocks of the network again instead of keeping their
    feature maps (gradient checkpointing): the same gradients in less memory, for large patches or
    batches; a step takes about a third longer. A run may be resumed with another value."""
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
    target; the last epoch has them, too. They are the fullest slices of up to four scans, with a 3D
    network the fullest planes across all three axes. 0: no images."""

    @field_validator("device")
    @classmethod
    def _valid_device(cls, name: str) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
            raise ValueError(f"must be auto, cpu, mps, cuda or cuda:N, not `{name}`")
        return name

    @model_validator(mode="after")
    def _schedule_has_epochs(self) -> Self:
        if self.warm_up >= self.max_epochs:
            raise ValueError(
                f"warm_up: {self.warm_up} epochs leave none of max_epochs ({self.max_epochs}) for "
                "the schedule; lower warm_up"
            )
        return self

    @model_validator(mode="after")
    def _reaches_uninterpolated_epochs(self) -> Self:
        if self.uninterpolated_fraction and self.early_stopping is not None:
            raise ValueError(
                "uninterpolated_fraction: early stopping might end training before these epochs; "
                "set early_stopping: null"
            )
        return self

    @property
    def uninterpolated_epochs(self) -> int:
        """Number of the last epochs, in which no step interpolates or mixes masks."""
        return round(self.uninterpolated_fraction * self.max_epochs)
