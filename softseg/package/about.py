"""`about.json` and `thresholds.json`: what is known of a packaged model, typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from softseg.core.component import Component
from softseg.runs.thresholds import Threshold, threshold_key


def _printable(text: str) -> str:
    """A terminal obeys what is not."""
    if not text.isprintable():
        raise ValueError("must be printable text")
    return text


Printed = Annotated[str, AfterValidator(_printable)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Length = Annotated[float, Field(gt=0)]
Zooms = tuple[Length, Length, Length]


class Moments(Component):
    """One metric over the test scans; mean and std are null where they are undefined."""

    mean: float | None
    std: float | None
    n: Count


class Summary(Component):
    """The data of the training, without names or places."""

    subjects: dict[Literal["train", "validation", "test"], Count]
    """Number of subjects in each set."""
    synthetic: bool | None
    """Whether they are a phantom of softseg; null: the data were not there to tell."""
    raters: str
    """How the masks of several raters became one."""


class Credits(Component):
    """What only a person can tell."""

    license: str | None = None
    """Under which the model may be used, e.g. CC-BY-4.0."""
    citation: str | None = None
    """What to cite."""
    authors: tuple[str, ...] = ()
    """Who made it."""
    description: str | None = None
    """What it is for, in a paragraph."""


class About(Credits):
    """What is known of a packaged model."""

    name: Printed
    contrasts: tuple[Printed, ...]
    """The input channels, in their order."""
    targets: tuple[Printed, ...]
    """What it segments, in the order of its outputs."""
    needs_roi: bool
    """Whether a scan needs an ROI mask, or a place to look at, to be segmented."""
    epoch: Count
    """The epoch of the training that the weights are of."""
    status: Annotated[str, Field(max_length=100), AfterValidator(_printable)]
    """finished, or how the training ended else."""
    created: str | None
    """When the training finished; the package has no time of its own."""
    trained_with: dict[str, str]
    """Versions of softseg and of the libraries."""
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    """SHA-256 of the sorted fingerprints of all subjects' data; null: an old run without them."""
    summary: Summary
    scores: dict[str, dict[str, Moments]]
    """Target -> metric -> its mean over the test set; {}: it was not evaluated."""
    scored_at: dict[str, Share]
    """Target -> the threshold of those scores."""
    native_zooms_mm: tuple[Zooms, Zooms] | None = None
    """The smallest and the largest voxels of the training's scans, where the run knows it."""


class OneThreshold(Component):
    """The threshold of one target, and mean Dice [%] at every threshold that was tried."""

    threshold: Share
    curve: dict[str, Annotated[float, Field(ge=0, le=100)]]

    @model_validator(mode="after")
    def _on_its_curve(self) -> Self:
        if threshold_key(self.threshold) not in self.curve:
            raise ValueError(f"the curve has no {threshold_key(self.threshold)}")
        return self


class Thresholds(Component):
    """`thresholds.json`."""

    targets: dict[str, OneThreshold]

    @classmethod
    def of(cls, found: Mapping[str, Threshold]) -> Self:
        """What a search found, ready to be written."""
        kept = {t: OneThreshold(threshold=o.value, curve=o.curve) for t, o in found.items()}
        return cls(targets=kept)

    def values(self) -> dict[str, Threshold]:
        """Target -> threshold and curve."""
        return {t: Threshold(one.threshold, one.curve) for t, one in self.targets.items()}
