"""Load and preprocess all subjects of a dataset in parallel, into one store."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from softseg.core.errors import UserError, combined_error
from softseg.core.files import os_error_message
from softseg.core.memory import GIB, half_of_memory_gb, release_free_memory
from softseg.data import Dataset, Subject
from softseg.data.sample import SubjectError, load_sample
from softseg.preprocess.cache import (
    CacheError,
    entry_key,
    evict,
    eviction_suspended,
    read_or_create,
)
from softseg.preprocess.preprocess import PreprocessedVolume, preprocess
from softseg.preprocess.samples import Samples
from softseg.preprocess.soften import soften_sample
from softseg.preprocess.steps import Step
from softseg.preprocess.store import VolumeStore, assemble_store

_MAX_THREADS = 8  # subjects in memory while they are preprocessed
_MAX_NAME = 48  # characters of a subject in a file name, which has at most 255 bytes


def build_store(
    subjects: Sequence[Subject],
    dataset: Dataset,
    steps: Sequence[Step],
    samples: Samples,
    maps: Sequence[str] = (),
    tick: Callable[[], None] = lambda: None,
    known_problems: Sequence[str] = (),
) -> VolumeStore:
    """Load, check and preprocess every subject, or read it from the cache (`dataset.cache`).

    Threads suffice, because decompression and matrix products release the interpreter's lock.
    Afterwards the cache is brought below `dataset.cache_gb`. `maps` are the kinds of distance maps
    that the loss needs; `tick` is called after each subject. Raises one UserError that lists the
    `known_problems` of the dataset and every bad file of it.
    """
    folder = None if dataset.cache is None else Path(dataset.cache)
    recipe = {
        "steps": [step.model_dump(mode="json") for step in steps],
        "slices": samples.recipe,
        "targets": [(name, t.model_dump(mode="json")) for name, t in dataset.targets.items()],
        "on_grid_mismatch": dataset.on_grid_mismatch,
        "fill": [dataset.fill_of(contrast) for contrast in dataset.contrasts],
        "maps": list(maps),
    }
    used: list[Path] = []

    def read_or_preprocess(subject: Subject) -> PreprocessedVolume:
        def create() -> PreprocessedVolume:
            sample = load_sample(subject, dataset, confidence=True)
            sample = soften_sample(sample, subject, dataset)
            return preprocess(sample, steps, samples, dataset.raters.fusion == "random", maps)

        if folder is None:
            return create()
        entry = _entry_path(folder, subject, dataset, recipe)
        used.append(entry)
        return read_or_create(entry, create)

    with nullcontext() if folder is None else eviction_suspended(folder):
        volumes = _all_volumes(subjects, read_or_preprocess, dataset, tick, known_problems)
        limit = GIB * (dataset.memory_gb or half_of_memory_gb())
        store = assemble_store([s.name for s in subjects], volumes, limit, dataset.cache)
    if folder is not None:
        evict(folder, GIB * (dataset.cache_gb or math.inf), used)
    return store


def _all_volumes(
    subjects: Sequence[Subject],
    volume_of: Callable[[Subject], PreprocessedVolume],
    dataset: Dataset,
    tick: Callable[[], None],
    known_problems: Sequence[str],
) -> list[PreprocessedVolume]:
    """Return the results of `volume_of`, called in threads, or raise all problems at once."""

    def volume_or_problems(subject: Subject) -> PreprocessedVolume | list[str]:
        try:
            return volume_of(subject)
        except CacheError:  # concerns all subjects
            raise
        except SubjectError as error:
            return error.problems
        except UserError as error:
            return [f"{subject.name}: {error}"]
        except OSError as error:
            error.filename = error.filename or subject.name
            return [os_error_message(error)]

    volumes: list[PreprocessedVolume] = []
    problems = list(known_problems)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
        for result in pool.map(volume_or_problems, subjects):
            if isinstance(result, list):
                problems += result
            else:
                volumes.append(result)
            tick()
            release_free_memory()
            del result  # each volume must be released once it is in the store
    if problems:
        raise combined_error(
            f"{len(problems)} problem(s) in the data under {dataset.root} "
            "(fix them, or leave subjects out by name with dataset.exclude):",
            problems,
        )
    return volumes


def _entry_path(folder: Path, subject: Subject, dataset: Dataset, recipe: dict[str, Any]) -> Path:
    """Return the file of a subject's preprocessed volume, named after all that it depends on."""
    raters = {
        target: [(rater, masks[rater] is None) for rater in sorted(masks)]
        for target, masks in subject.labels.items()
    }
    of_subject = {
        "raters": [dataset.raters.model_dump(mode="json", exclude={"required"}), raters],
        "images": list(subject.images),
        "frames": {contrast: asdict(frame) for contrast, frame in subject.frames.items()},
        "ignore": sorted(subject.ignore.items()),
        "confidence": sorted(subject.confidence),
    }
    # a table's subjects may have any name, e.g. `../../x`
    name = re.sub(r"^[^\w]|[^\w.+-]", "_", subject.name)[:_MAX_NAME]
    return folder / f"{name}-{entry_key(subject.files, recipe | of_subject)}.safetensors"
