"""The Experiment: all settings of one run, one field per section of its YAML file."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from softseg.augment import (
    AugmentStep,
    Flip,
    Mixup,
    RandomStep,
    SpatialStep,
    TorchioTransform,
)
from softseg.augment.mirroring import NOTHING_MIRRORED, Mirroring, mirroring_of
from softseg.augment.spatial.flip import pairs_of_sides
from softseg.config.trainer import Trainer
from softseg.core.component import Component
from softseg.data import Dataset, Split
from softseg.losses import Loss, contour_losses, contour_only
from softseg.metrics.score import Evaluate
from softseg.models import Model
from softseg.preprocess.patches import Patches
from softseg.preprocess.samples import Samples
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Chain, needs_roi, slice_standardization


class InitFrom(Component):
    """Fine-tuning: training starts from the weights of another run or a package."""

    model: Annotated[str, Field(min_length=1)]
    """A run's folder (the weights of its best epoch) or a `.softseg` package; absolute, or relative
    to the working directory."""
    frozen_blocks: Annotated[int, Field(ge=0)] = 0
    """Number of blocks whose weights stay fixed, in the order of the data flow: encoder, bottom,
    decoder. They run in evaluation mode: batch norm with its stored statistics, no dropout."""


def _from_text(spec: Any) -> Any:
    return {"model": spec} if isinstance(spec, str) else spec


InitFromOrText = Annotated[
    InitFrom, BeforeValidator(_from_text, json_schema_input_type=str | InitFrom)
]
"""`init_from: runs/x` is short for `init_from: {model: runs/x}`."""


class Experiment(Component):
    """One candidate on one dataset: what `softseg train` trains."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run's folder under runs/: letters, digits, `.`, `_`, `-`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random stream: split, initialization, shuffling, augmentation."""
    dataset: Dataset
    """Source of the subjects: files (path patterns) | bids | table | nnunet."""
    split: Split = Split()
    """Which subjects train, validate and test."""
    preprocess: Chain = ()
    """Steps applied once to each volume, in the order of the list, after it is brought to the
    closest canonical orientation (RAS+). Available: standardize, resample, crop. The position of
    `standardize: {over: volume}` has no effect."""
    slices: Slices = Slices()
    """How volumes become slices for a 2D network, which may see their neighbors, too (2.5D). With a
    3D network, `axis` is still the plane of figures and of a `crop` with two values; the other keys
    have no effect."""
    patches: Patches = Patches()
    """How volumes become patches for a 3D network (`model.name: unet3d`); no effect with a 2D
    one."""
    augment: tuple[AugmentStep, ...] = ()
    """Steps applied to each training batch, in the order of the list. Spatial: affine, elastic,
    flip. Intensity: noise, blur, low_resolution, brightness, contrast, gamma, bias_field,
    contrast_dropout. Others: mixup, binarize, and TorchIO's transforms by their names."""
    model: Model
    """The network and its head."""
    init_from: InitFromOrText | None = None
    """Fine-tuning: the run or `.softseg` package whose weights training starts from, as text or
    with the number of blocks to freeze. null: random initialization."""
    loss: Loss
    """The loss that training minimizes."""
    trainer: Trainer = Trainer()
    """The training schedule and the machine."""
    evaluate: Evaluate = Evaluate()
    """How predictions are postprocessed and scored."""

    @property
    def axes(self) -> int:
        """Number of spatial axes of the network's input: 2 or 3."""
        return self.model.axes

    @property
    def samples(self) -> Samples:
        """What the network is trained on: `slices` of a 2D network, `patches` of a 3D one."""
        if self.axes == 2:
            return self.slices
        return self.patches.with_plane(self.slices.in_plane)

    @property
    def channels(self) -> int:
        """Number of input channels of the network: the contrasts of a slice and its neighbors."""
        return len(self.dataset.contrasts) * (2 * self.samples.neighbor_count + 1)

    @model_validator(mode="after")
    def _standardizes_what_it_trains_on(self) -> Self:
        """Check that a 3D network has no standardization of slices."""
        if self.axes == 3 and slice_standardization(self.preprocess):
            raise ValueError(
                "preprocess: standardize over: slice is for 2D networks; use over: volume with "
                f"model.name: {self.model.name}"
            )
        return self

    @model_validator(mode="after")
    def _has_the_roi_it_needs(self) -> Self:
        if self.dataset.roi is None and needs_roi(self.preprocess, self.samples):
            raise ValueError("a step of preprocess or slices needs an ROI mask: set dataset.roi")
        return self

    @model_validator(mode="after")
    def _contour_losses_can_train(self) -> Self:
        """Check that the head and the augmentation fit a loss with distance maps."""
        if self.model.head.name == "normrelu" and contour_only(self.loss):
            raise ValueError(
                "loss: a NormReLU head cannot learn from a contour loss alone: it first lowers all "
                "outputs, and below 0 they have no gradient; combine it with another loss "
                "(loss: {name: combination, ...}), or use head: {name: sigmoid}"
            )
        if self.loss.required_maps and self.dataset.raters.fusion == "random":
            raise ValueError(
                "loss: the distance maps of a contour loss are computed once, from one mask, so "
                "they cannot follow a rater that is drawn at random in each epoch; use "
                "dataset.raters: {fusion: mean}"
            )
        bending = [
            step.name
            for step in self.augment
            if isinstance(step, SpatialStep | TorchioTransform) and step.bends
        ]
        if self.loss.required_maps and bending:
            raise ValueError(
                f"augment: {bending[0]} changes distances in ways that the distance maps of a "
                "contour loss cannot follow; use affine with one scale for all axes and without "
                "shear, and flip, or another loss"
            )
        if self.loss.required_maps and any(isinstance(step, Mixup) for step in self.augment):
            raise ValueError(
                "augment: mixup mixes two contours, which the distance maps of a contour loss "
                "cannot follow; use another loss"
            )
        return self

    @model_validator(mode="after")
    def _contour_losses_have_maps(self) -> Self:
        """Check that no contour loss is applied at levels that have no distance maps."""
        contour = contour_losses(self.loss)
        if self.model.deep_supervision and contour:
            raise ValueError(
                f"loss: {contour[0]} cannot be used with model.deep_supervision, since distance "
                "maps exist at the full resolution only; set model.deep_supervision: false, or "
                "use another loss"
            )
        return self

    @model_validator(mode="after")
    def _steps_fit_samples(self) -> Self:
        """Check that augmentation fits the axes and contrasts of the samples."""
        for step in self.augment:
            if isinstance(step, RandomStep):
                step.check_images(self.axes, len(self.dataset.contrasts))
            elif isinstance(step, TorchioTransform) and self.axes == 3:
                raise ValueError(
                    f"augment: {step.name} of TorchIO transforms the slices of a 2D network, and "
                    f"{self.model.name} is trained on patches; use steps of softseg (affine, "
                    "elastic, noise, blur, bias_field, ...)"
                )
        return self

    @model_validator(mode="after")
    def _flips_keep_sides(self) -> Self:
        """Check that flips swap targets that exist, and those of the left and right side."""
        targets = tuple(self.dataset.targets)
        sides = self.samples.in_plane[0] == 0  # whether axis 0 of a sample is left-right
        for step in self.augment:
            if isinstance(step, Flip):
                step.check_targets(targets, sides)
            elif isinstance(step, TorchioTransform) and step.flips_first_axis and sides:
                for left, right in pairs_of_sides(targets):
                    raise ValueError(
                        "augment: RandomFlip along axis 0 exchanges left and right, but not the "
                        f"targets {left} and {right}; use flip: {{swap: [[{left}, {right}]]}} "
                        "instead"
                    )
        return self

    @model_validator(mode="after")
    def _mirrors_what_it_has_learned(self) -> Self:
        """Check that mirroring at test time has axes that training mirrored."""
        if self.evaluate.mirror and not self.mirroring.axes:
            raise ValueError(
                f"evaluate.mirror: {NOTHING_MIRRORED}; leave it (or --mirror) out, "
                "or train with flip"
            )
        return self

    @property
    def mirroring(self) -> Mirroring:
        """The mirror images that the network has learned from; without axes if there are none."""
        return mirroring_of(self.augment, tuple(self.dataset.targets))

    @model_validator(mode="after")
    def _weighted_losses_have_voxels(self) -> Self:
        """Check that no contour loss has to be weighted by maps of confidence."""
        weighted = [
            n for n, target in self.dataset.targets.items() if target.confidence is not None
        ]
        contour = contour_losses(self.loss)
        if weighted and contour:
            raise ValueError(
                f"loss: {contour[0]} cannot be weighted, since its maps are of the whole contour, "
                "whatever the confidence is there; leave it out, or remove "
                f"dataset.targets.{weighted[0]}.confidence"
            )
        return self

    @model_validator(mode="after")
    def _frozen_blocks_exist(self) -> Self:
        """Check that the network has as many blocks as are frozen."""
        blocks = 2 * self.model.depth + 1  # encoder, bottom, decoder
        if self.init_from is not None and self.init_from.frozen_blocks > blocks:
            raise ValueError(
                f"init_from.frozen_blocks: {self.init_from.frozen_blocks} are more than the "
                f"{blocks} blocks of a network with model.depth {self.model.depth}"
            )
        return self
