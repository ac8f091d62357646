"""The size of a 3D network's patches and its levels, where they are left to the training data.

config.yaml holds what `null` became when training started, so that it repeats the run and a new
scan is predicted with the same patches.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.preprocess.patches import LARGEST, smallest_size
from softseg.runs.data import PreparedData
from softseg.runs.folder import Run


def resolve_patches(experiment: Experiment, prepared: PreparedData) -> Experiment:
    """Replace `null` of `patches.size`, `model.strides` and `model.kernels`.

    They follow from the preprocessed volumes of the training subjects: from their largest extent
    along each axis, and from the median of their spacing. A 2D experiment stays as it is.

    Raises UserError where the volumes are too small for the network's depth.
    """
    if experiment.axes == 2:
        return experiment
    grids = [volume.geometry.network for volume in prepared.store.volumes_of(prepared.sets.train)]
    spacings = zip(*(experiment.samples.spacing(grid) for grid in grids), strict=True)
    shapes = [grid.shape for grid in grids]
    largest = tuple(min(max(sides), LARGEST) for sides in zip(*shapes, strict=True))
    size = experiment.patches.size
    model = experiment.model.planned(size or largest, [*map(statistics.median, spacings)])
    size = size or smallest_size(shapes, model.divisor)
    patches = experiment.patches.model_copy(update={"size": size})
    return experiment.model_copy(update={"model": model, "patches": patches})


def padding_warnings(experiment: Experiment, prepared: PreparedData) -> Iterator[str]:
    """Yield that patches, whose size is resolved, are mostly outside of every training volume."""
    size = experiment.patches.size
    if experiment.axes == 2 or size is None:
        return
    volumes = prepared.store.volumes_of(prepared.sets.train)
    shapes = [volume.geometry.network.shape for volume in volumes]
    enough = smallest_size(shapes, experiment.model.divisor, max(size))
    same = [min(pair) for pair in zip(size, enough, strict=True)]
    padding = 1 - math.prod(same) / math.prod(size)
    if padding >= 0.5:
        yield (
            f"patches.size: at least {100 * padding:.0f} % of each patch of "
            f"{' x '.join(map(str, size))} voxels are outside of every training volume; "
            f"patches.size: {same} has the same content in less time and memory"
        )


def with_recorded_patches(experiment: Experiment, run: Run) -> Experiment:
    """Replace the same by what a run that has started recorded of it."""
    if experiment.axes == 2 or not run.config.is_file():
        return experiment
    recorded = load_config(run.config, Experiment)
    if recorded.axes == 2:
        return experiment
    levels = {
        name: getattr(recorded.model, name)
        for name in ("strides", "kernels")
        if getattr(experiment.model, name) is None
    }
    size = experiment.patches.size or recorded.patches.size
    update = {
        "model": experiment.model.model_copy(update=levels),
        "patches": experiment.patches.model_copy(update={"size": size}),
    }
    return experiment.model_copy(update=update)
