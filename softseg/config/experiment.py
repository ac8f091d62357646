"""The whole of one experiment, as its YAML says it: every section is a room's own spec."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from softseg.augment import AugmentStep, TorchioTransform
from softseg.config.init_from import InitFromOrText
from softseg.config.trainer import Trainer
from softseg.core.component import Component
from softseg.data import Dataset, Split
from softseg.losses import Loss, contour_only
from softseg.metrics.evaluate import Evaluate
from softseg.models import Model
from softseg.preprocess import Chain, Slices
from softseg.preprocess.geometry import needs_roi


class Experiment(Component):
    """One candidate on one dataset: what `softseg train` trains."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run's folder under runs/: letters, digits, `.`, `_`, `-`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Every random stream starts from it: split, initialization, shuffling, augmentation."""
    dataset: Dataset
    """Where subjects come from: files (path patterns) | bids | table | nnunet."""
    split: Split = Split()
    """Which subjects train, validate and test."""
    preprocess: Chain = ()
    """Steps done once to each volume, in this order: standardize, resample, crop. Volumes are
    first brought to the closest canonical orientation (RAS+)."""
    slices: Slices = Slices()
    """How volumes become 2D slices."""
    augment: tuple[AugmentStep, ...] = ()
    """Steps done to each training batch, in this order: affine, binarize, or a TorchIO transform by
    its name."""
    model: Model
    """The network and its head."""
    init_from: InitFromOrText | None = None
    """Fine-tuning: the run or `.softseg` package whose weights training starts from, as text or
    with the blocks to freeze; null starts fresh."""
    loss: Loss
    """What training minimizes."""
    trainer: Trainer = Trainer()
    """The training schedule and the machine."""
    evaluate: Evaluate = Evaluate()
    """How predictions are made binary and scored."""

    @model_validator(mode="after")
    def _roi_where_needed(self) -> Self:
        if self.dataset.roi is None and needs_roi(self.preprocess, self.slices):
            raise ValueError("a step needs an ROI mask: say where it is with dataset.roi")
        return self

    @model_validator(mode="after")
    def _contour_losses_can_train(self) -> Self:
        if self.model.head.name == "normrelu" and contour_only(self.loss):
            raise ValueError(
                "loss: a contour loss alone kills a NormReLU head: it first pushes everything "
                "down, and below 0 there is no gradient back; combine it with another loss "
                "(loss: {name: combination, ...}), or take head: {name: sigmoid}"
            )
        if self.loss.required_maps and self.dataset.raters.fusion == "random":
            raise ValueError(
                "loss: the maps of a contour loss are made once, of one mask, so they cannot "
                "follow a rater who is drawn anew each epoch; take dataset.raters: {fusion: mean}"
            )
        bending = [s.name for s in self.augment if isinstance(s, TorchioTransform) and s.bends]
        if self.loss.required_maps and bending:
            raise ValueError(
                f"augment: {bending[0]} changes distances in ways that the maps of a contour loss "
                "cannot follow; use affine and RandomFlip with it"
            )
        return self

    @model_validator(mode="after")
    def _blocks_to_freeze_are_there(self) -> Self:
        blocks = 2 * self.model.depth + 1  # encoder, bottom, decoder
        if self.init_from is not None and self.init_from.frozen_blocks > blocks:
            raise ValueError(
                f"init_from.frozen_blocks: {self.init_from.frozen_blocks} are more blocks than "
                f"the {blocks} of a network with model.depth {self.model.depth}"
            )
        return self
