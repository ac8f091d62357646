"""A row of `scripts/bench`: preprocessing beside TorchIO's, and what the cache saves."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench_child import in_child
from bench_parts import Row, medians, on_cpu, phantom, real_data, row_of

from softseg.config.experiment import Experiment
from softseg.data import Subject
from softseg.preprocess import Crop, Resample
from softseg.preprocess.build_stack import build_stack
from softseg.preprocess.stack import SliceStack

VOLUMES, CACHED, WANTED, HIT = 2, 8, 5, 0.05  # TorchIO takes seconds for each


def preprocessing_against_torchio(rounds: int) -> Row:
    """Volumes a second on one core / those of TorchIO's transforms on the same files."""
    real = real_data("spinal-gm") is not None
    kind = "spinal scans" if real else "phantom"
    row = row_of(
        f"preprocessing, volumes a second / TorchIO's, one core, {kind}",
        f">= {WANTED} times; a cache hit < {HIT:.0%} of a miss",
    )
    counts = [n for n in (1, 2) if n <= (os.cpu_count() or 1)]
    measured = {n: in_child(preprocessing_seconds, rounds, n, cores=n) for n in counts}
    # the target is of scans that are cropped around the cord, not of a phantom's small ones
    return row | judged(measured) | ({} if real else {"met": None})


def judged(seconds: dict[int, dict[str, float]]) -> Row:
    """Value, met and parts of the row, from the seconds a volume by number of cores."""
    gains, hits = {}, {}
    for cores, taken in seconds.items():
        theirs = min(value for side, value in taken.items() if side.startswith("torchio"))
        gains[f"times faster, {cores} core(s)"] = theirs / taken["softseg"]
        hits[f"cache hit / miss, {cores} core(s)"] = taken["cache hit"] / taken["cache miss"]
    value = gains["times faster, 1 core(s)"]
    met = value >= WANTED and max(hits.values()) < HIT
    speed = {
        f"volumes a second, {cores} core(s)": {side: 1 / one for side, one in taken.items()}
        for cores, taken in seconds.items()
    }
    return {"value": value, "met": met, "parts": {**gains, **hits, **speed}}


def preprocessing_seconds(rounds: int, cores: int, volumes: int = VOLUMES) -> dict[str, float]:
    """Median seconds a volume of each side; TorchIO also with a thread a core."""
    with tempfile.TemporaryDirectory() as name:
        config, subjects = scans(Path(name), volumes)
        works: dict[str, Callable[[], object]] = {
            "softseg": partial(stack_of, config, subjects),
            "torchio": lambda: [torchio_volume(config, one) for one in subjects],
        }
        if cores > 1:
            works["torchio, a thread a core"] = lambda: _threaded(config, subjects, cores)
        taken = medians(rounds, works)
    return {side: one / len(subjects) for side, one in taken.items()} | _cache_seconds(rounds)


def _cache_seconds(rounds: int, volumes: int = CACHED) -> dict[str, float]:
    """Median seconds a volume that is not in the cache, and is put there, and of one that is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, subjects = scans(folder, volumes)
        kept = _cached(config, folder / "kept")
        works: dict[str, Callable[[], object]] = {
            "cache miss": lambda: _missed(config, subjects, folder),
            "cache hit": partial(stack_of, kept, subjects),
        }
        taken = medians(rounds, works)
    return {side: one / len(subjects) for side, one in taken.items()}


def scans(folder: Path, volumes: int) -> tuple[Experiment, list[Subject]]:
    """The shipped experiment on real spinal scans with its crop around the cord, or a phantom's.

    One rater's masks of the phantom are used, since TorchIO fuses none.
    """
    if root := real_data("spinal-gm"):
        config = on_cpu("spinal_gm_softseg.yaml", root)
    else:
        config = on_cpu("scgm_softseg.yaml", phantom(folder), "dataset.raters.fusion='1'")
    subjects = config.dataset()
    return config, subjects[:: max(1, len(subjects) // volumes)][:volumes]


def stack_of(config: Experiment, subjects: Sequence[Subject]) -> SliceStack:
    return build_stack(subjects, config.dataset, config.preprocess, config.slices)


def _cached(config: Experiment, folder: Path) -> Experiment:
    dataset = config.dataset.model_copy(update={"cache": str(folder)})
    return config.model_copy(update={"dataset": dataset})


def _missed(config: Experiment, subjects: Sequence[Subject], folder: Path) -> SliceStack:
    return stack_of(_cached(config, Path(tempfile.mkdtemp(dir=folder))), subjects)


def torchio_volume(config: Experiment, subject: Subject) -> Any:
    """The same files through TorchIO: canonical, resampled, cropped, standardized."""
    import torchio

    files = [*subject.images.values()]
    masks = [next(iter(raters.values())) for raters in subject.labels.values()]
    images = {f"image{n}": torchio.ScalarImage(path) for n, path in enumerate(files)}
    labels = {f"target{n}": torchio.LabelMap(path) for n, path in enumerate(masks)}
    roi = {} if subject.roi is None else {"roi": torchio.LabelMap(subject.roi)}
    # masks' headers are rounded: as they are, TorchIO refuses them beside the image
    read = torchio.CopyAffine("image0")(torchio.Subject(**images, **labels, **roi))
    canonical = torchio.ToCanonical()(read)
    resample = next(step for step in config.preprocess if isinstance(step, Resample))
    crop = next(step for step in config.preprocess if isinstance(step, Crop))
    spacing = canonical["image0"].spacing
    zooms = tuple(z or old for z, old in zip(resample.zooms, spacing, strict=True))
    chain = torchio.Compose(
        [
            torchio.Resample(zooms, image_interpolation="bspline", label_interpolation="linear"),
            torchio.CropOrPad((*crop.size, None), mask_name="roi" if roi else None),
            torchio.ZNormalization(),
        ]
    )
    return chain(canonical)


def _threaded(config: Experiment, subjects: Sequence[Subject], cores: int) -> list[Any]:
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(partial(torchio_volume, config), subjects))
