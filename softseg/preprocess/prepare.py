"""All subjects of a dataset, preprocessed in parallel into one slice stack."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from softseg.core.errors import UserError, combined_error
from softseg.core.memory import GIB, half_of_memory_gb, release_free_memory
from softseg.data import Dataset, Subject
from softseg.data.sample import SubjectError, load_sample
from softseg.preprocess.build_stack import assemble
from softseg.preprocess.cache.entry import fetch, key_of, store
from softseg.preprocess.cache.eviction import at_work, evict, touch
from softseg.preprocess.geometry import Step
from softseg.preprocess.preprocess import VolumeSlices, Wanted, preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.stack import SliceStack

Tick = Callable[[], None]
_AT_ONCE = 8  # subjects in memory while they are preprocessed
_LONGEST = 48  # characters of a subject in a file name, which has at most 255 bytes


def prepare(
    subjects: Sequence[Subject],
    dataset: Dataset,
    steps: Sequence[Step],
    slices: Slices,
    maps: Sequence[str] = (),
    tick: Tick = lambda: None,
    known: Sequence[str] = (),
) -> SliceStack:
    """Read, check and preprocess every subject, or take it from the cache (`dataset.cache`).

    Threads, since decompression and matrix products release the interpreter's lock. `maps` are the
    kinds of maps that the loss needs; `tick` is called after each subject. Afterwards the cache is
    brought below `dataset.cache_gb`. Raises one UserError that lists every bad file of the dataset,
    after the problems that are `known` already.
    """
    wanted = Wanted(dataset.raters.fusion == "random", tuple(maps))

    def make(subject: Subject) -> VolumeSlices:
        return preprocess(load_sample(subject, dataset), steps, slices, wanted)

    if dataset.cache is None:
        return _stacked(subjects, dataset, make, tick, known)
    used: list[Path] = []

    def find(subject: Subject) -> VolumeSlices:
        entry = _entry(subject, dataset, steps, slices, wanted)
        used.append(entry)
        return _cached(entry, lambda: make(subject))

    with at_work(Path(dataset.cache)):
        stack = _stacked(subjects, dataset, find, tick, known)
    evict(Path(dataset.cache), GIB * (dataset.cache_gb or math.inf), used)
    return stack


def _stacked(
    subjects: Sequence[Subject],
    dataset: Dataset,
    get: Callable[[Subject], VolumeSlices],
    tick: Tick,
    known: Sequence[str],
) -> SliceStack:
    """The volumes that `get` gives, in threads, as one stack; or all that is wrong with them."""

    def one(subject: Subject) -> VolumeSlices | list[str]:
        try:
            return get(subject)
        except SubjectError as error:
            return error.problems
        except UserError as error:
            return [f"{subject.name}: {error}"]
        except OSError as error:
            return [f"{error.filename or subject.name}: {error.strerror}"]

    parts: list[VolumeSlices] = []
    problems = list(known)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _AT_ONCE)) as pool:
        for result in pool.map(one, subjects):
            if isinstance(result, list):
                problems += result
            else:
                parts.append(result)
            tick()
            release_free_memory()
            del result  # each volume is to be given up once it is in the stack
    _refuse(problems, dataset)
    limit = GIB * (dataset.memory_gb or half_of_memory_gb())
    return assemble([subject.name for subject in subjects], parts, limit, dataset.cache)


def _refuse(problems: Sequence[str], dataset: Dataset) -> None:
    if problems:
        raise combined_error(
            f"{len(problems)} problem(s) in the data under {dataset.root} "
            "(mend them, or leave subjects out by name with dataset.exclude):",
            problems,
        )


def _cached(entry: Path, make: Callable[[], VolumeSlices]) -> VolumeSlices:
    """A volume from its entry in the cache, made and stored first where there is none."""
    found = fetch(entry)
    if found is None:
        with _alone(entry):
            if fetch(entry) is None:
                store(entry, make())
        found = fetch(entry)
    if found is None:
        raise UserError(f"{entry}: cannot be read back after writing; check the disk")
    touch(entry)
    return found


@contextmanager
def _alone(entry: Path) -> Iterator[None]:
    """No other process makes this entry meanwhile: it would be the same work done twice."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    lock = entry.with_suffix(".lock")
    with FileLock(lock):
        yield
        with suppress(OSError):  # Windows keeps open files; whoever waits will find the entry
            lock.unlink()


def _entry(
    subject: Subject, dataset: Dataset, steps: Sequence[Step], slices: Slices, wanted: Wanted
) -> Path:
    """Where this subject's preprocessed volume is kept."""
    labels = {t: sorted(raters) for t, raters in subject.labels.items()}
    recipe: dict[str, Any] = {
        "steps": [step.model_dump(mode="json") for step in steps],
        "slices": slices.model_dump(mode="json"),
        "targets": [(name, t.model_dump(mode="json")) for name, t in dataset.targets.items()],
        "raters": [dataset.raters.model_dump(mode="json", exclude={"required"}), labels],
        "images": list(subject.images),
        "on_grid_mismatch": dataset.on_grid_mismatch,
        "maps": wanted.maps,
    }
    assert dataset.cache is not None
    # a table's subjects may have any name, e.g. `../../x`
    name = re.sub(r"^[^\w]|[^\w.+-]", "_", subject.name)[:_LONGEST]
    return Path(dataset.cache) / f"{name}-{key_of(_files(subject), recipe)}.safetensors"


def _files(subject: Subject) -> list[Path]:
    """Every file a subject's preprocessed volume rests on, in a fixed order."""
    labels = [
        path for _, raters in sorted(subject.labels.items()) for _, path in sorted(raters.items())
    ]
    roi = [] if subject.roi is None else [subject.roi]
    return [*subject.images.values(), *labels, *roi]
