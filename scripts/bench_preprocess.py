"""A row of `scripts/bench`: preprocessing compared with TorchIO, and the gain of the cache."""

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
from softseg.preprocess.build_store import build_store
from softseg.preprocess.steps import Crop, Resample
from softseg.preprocess.store import VolumeStore

VOLUMES, CACHED, TARGET, HIT = 2, 8, 5, 0.05  # TorchIO takes seconds per volume


def preprocessing_against_torchio(rounds: int) -> Row:
    """Volumes per second on one core / those of TorchIO's transforms on the same files."""
    real = real_data("spinal-gm") is not None
    kind = "spinal scans" if real else "phantom"
    row = row_of(
        f"preprocessing, volumes a second / TorchIO's, one core, {kind}",
        f">= {TARGET} times; a cache hit < {HIT:.0%} of a miss",
    )
    counts = [n for n in (1, 2) if n <= (os.cpu_count() or 1)]
    measured = {n: in_child(preprocessing_seconds, rounds, n, cores=n) for n in counts}
    # the target is for scans that are cropped around the cord, not for a phantom's small ones
    return row | evaluate_row(measured) | ({} if real else {"met": None})


def evaluate_row(seconds: dict[int, dict[str, float]]) -> Row:
    """Return value, met and parts of the row, from the seconds per volume by number of cores."""
    gains, hits = {}, {}
    for cores, taken in seconds.items():
        theirs = min(value for side, value in taken.items() if side.startswith("torchio"))
        gains[f"times faster, {cores} core(s)"] = theirs / taken["softseg"]
        hits[f"cache hit / miss, {cores} core(s)"] = taken["cache hit"] / taken["cache miss"]
    value = gains["times faster, 1 core(s)"]
    met = value >= TARGET and max(hits.values()) < HIT
    speed = {
        f"volumes a second, {cores} core(s)": {
            side: 1 / seconds_per_volume for side, seconds_per_volume in taken.items()
        }
        for cores, taken in seconds.items()
    }
    return {"value": value, "met": met, "parts": {**gains, **hits, **speed}}


def preprocessing_seconds(rounds: int, cores: int, volumes: int = VOLUMES) -> dict[str, float]:
    """Return the median seconds per volume of each side; TorchIO also with a thread per core."""
    with tempfile.TemporaryDirectory() as name:
        config, subjects = scans(Path(name), volumes)
        works: dict[str, Callable[[], object]] = {
            "softseg": partial(store_slices, config, subjects),
            "torchio": lambda: [torchio_volume(config, subject) for subject in subjects],
        }
        if cores > 1:
            works["torchio, a thread a core"] = lambda: _threaded(config, subjects, cores)
        taken = medians(rounds, works)
    each = {side: total / len(subjects) for side, total in taken.items()}
    return each | _cache_seconds(rounds)


def _cache_seconds(rounds: int, volumes: int = CACHED) -> dict[str, float]:
    """Return the median seconds per volume of a cache miss, with the write, and of a hit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, subjects = scans(folder, volumes)
        kept = _cached(config, folder / "kept")
        works: dict[str, Callable[[], object]] = {
            "cache miss": lambda: _missed(config, subjects, folder),
            "cache hit": partial(store_slices, kept, subjects),
        }
        taken = medians(rounds, works)
    return {side: total / len(subjects) for side, total in taken.items()}


def scans(folder: Path, volumes: int) -> tuple[Experiment, list[Subject]]:
    """Return the experiment on real spinal scans, cropped around the cord, or on a phantom.

    Of the phantom one rater's masks are used, since TorchIO does not fuse raters.
    """
    if root := real_data("spinal-gm"):
        config = on_cpu("spinal_gm_softseg.yaml", root)
    else:
        config = on_cpu("scgm_softseg.yaml", phantom(folder), "dataset.raters.fusion='1'")
    subjects = config.dataset()
    return config, subjects[:: max(1, len(subjects) // volumes)][:volumes]


def store_slices(config: Experiment, subjects: Sequence[Subject]) -> VolumeStore:
    return build_store(subjects, config.dataset, config.preprocess, config.slices)


def _cached(config: Experiment, folder: Path) -> Experiment:
    dataset = config.dataset.model_copy(update={"cache": str(folder)})
    return config.model_copy(update={"dataset": dataset})


def _missed(config: Experiment, subjects: Sequence[Subject], folder: Path) -> VolumeStore:
    return store_slices(_cached(config, Path(tempfile.mkdtemp(dir=folder))), subjects)


def torchio_volume(config: Experiment, subject: Subject) -> Any:
    """Preprocess the same files with TorchIO: canonical, resampled, cropped, standardized."""
    import torchio

    files = [*subject.images.values()]
    masks = [next(iter(raters.values())) for raters in subject.labels.values()]
    images = {f"image{n}": torchio.ScalarImage(path) for n, path in enumerate(files)}
    labels = {f"target{n}": torchio.LabelMap(path) for n, path in enumerate(masks)}
    roi = {} if subject.roi is None else {"roi": torchio.LabelMap(subject.roi)}
    # the masks' headers are rounded, so TorchIO would reject them next to the image
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
