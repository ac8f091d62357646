"""What intensity steps share: which contrasts of which samples change, and how they are written."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

from torch import Generator, Tensor

from softseg.augment.batch import Batch
from softseg.augment.random_step import Parameters, Probability, RandomStep, sample_events
from softseg.core.device import to_device

_LARGE = 2**16  # voxels: on a CPU, larger images change one by one, so that they stay in its cache


@dataclass(frozen=True)
class Contrasts:
    """The contrasts that a step changes, each of one sample, and their parameters."""

    values: Tensor  # (N, *spatial), overwritten
    fill: Tensor  # (N,): the standardized background, overwritten
    sampled: Parameters  # name -> (N,), on the CPU

    def parameter(self, name: str) -> Tensor:
        """Return a parameter (N,) on the device of the values."""
        return to_device(self.sampled[name], self.values.device)

    def spread(self, parameter: Tensor) -> Tensor:
        """Return a parameter (N,) in a shape that broadcasts with the values."""
        return parameter.view(-1, *[1] * (self.values.dim() - 1))


class IntensityStep(RandomStep):
    """A step that changes the values of the image and never the target.

    It overwrites the image of its batch.
    """

    probability_per_contrast: Probability = 1.0
    """Probability that a contrast of a changed sample is changed."""
    same_for_contrasts: bool = False
    """Whether the contrasts of a sample share their parameters."""

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Parameters:
        """Sample `changed` and the step's parameters, each (B, C)."""
        count, contrasts = shape[:2]
        changed = sample_events(self.probability, (count, 1), generator)
        per_contrast = sample_events(self.probability_per_contrast, (count, contrasts), generator)
        columns = 1 if self.same_for_contrasts else contrasts
        parameters = self.sample_parameters((count, columns), generator)
        shared = {name: values.expand(count, contrasts) for name, values in parameters.items()}
        return {"changed": changed & per_contrast, **shared}

    @abstractmethod
    def sample_parameters(self, shape: tuple[int, int], generator: Generator) -> Parameters:
        """Sample the step's own parameters (B, C) for samples and contrasts."""

    @abstractmethod
    def transform(self, contrasts: Contrasts) -> None:
        """Overwrite the values and, where it changes as well, the background."""

    def for_slices(self, parameters: Parameters, slices: int) -> Parameters:
        """Return the parameters (B, slices C) of a slice and its neighbors: the same for all."""
        return {name: values.repeat(1, slices) for name, values in parameters.items()}

    def apply(self, batch: Batch, parameters: Parameters) -> Batch:
        """Transform the contrasts that are to change, in place; the others keep their bits."""
        if batch.slices > 1:
            parameters = self.for_slices(parameters, batch.slices)
        chosen = parameters["changed"].flatten().nonzero()[:, 0]  # on the CPU
        if not len(chosen):
            return batch
        batch = replace(batch, image=batch.image.contiguous(), fill=batch.fill.clone())
        one_by_one = batch.image.device.type == "cpu" and batch.image[0, 0].numel() > _LARGE
        for rows in chosen.split(1 if one_by_one else len(chosen)):
            self._transform_rows(batch, rows, parameters)
        return batch

    def _transform_rows(self, batch: Batch, rows: Tensor, parameters: Parameters) -> None:
        """Transform some contrasts of all samples, by their indices (N,) on the CPU, in place."""
        sampled = {name: values.flatten()[rows] for name, values in parameters.items()}
        planes, fill = batch.image.flatten(0, 1), batch.fill.flatten()
        first, last = int(rows[0]), int(rows[-1])
        if last - first + 1 == len(rows):  # views
            where = slice(first, last + 1)
            self.transform(Contrasts(planes[where], fill[where], sampled))
            return
        near_rows = to_device(rows, batch.image.device)
        chosen = (planes.index_select(0, near_rows), fill.index_select(0, near_rows))
        contrasts = Contrasts(*chosen, sampled)
        self.transform(contrasts)
        planes.index_copy_(0, near_rows, contrasts.values)
        fill.index_copy_(0, near_rows, contrasts.fill)


class PointwiseStep(IntensityStep):
    """A step that maps each value on its own, the background as well."""

    @abstractmethod
    def map_values(self, image: Tensor, fill: Tensor, contrasts: Contrasts) -> None:
        """Overwrite the values (N, V) of images with V voxels, and their background (N, 1)."""

    def transform(self, contrasts: Contrasts) -> None:
        """Map the values of the image and its background."""
        self.map_values(contrasts.values.flatten(1), contrasts.fill[:, None], contrasts)
