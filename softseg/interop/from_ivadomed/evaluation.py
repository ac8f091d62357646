"""`postprocessing`, `testing_parameters` and `evaluation_parameters` -> `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from softseg.interop.from_ivadomed.outcomes import (
    OFF,
    Fact,
    also,
    carry,
    fixed,
    leave,
    leave_unless_off,
    warn,
)
from softseg.interop.from_ivadomed.read import Source

_P = "postprocessing"
_STEPS = ("evaluate", "postprocess")
_THRESHOLDS = (f"{_P}.binarize_prediction.thr", "testing_parameters.binarize_prediction")
_NOT_2_9 = "ivadomed 2.9 ignores it (there it is {}): the YAML takes it as 2.2 did"


def convert_evaluation(source: Source) -> Iterator[Fact]:
    """`evaluate`; a threshold is no key of a YAML, but said to or found by `softseg eval`."""
    for name in source.mapping(_P):
        yield from _step(source, name)
    yield from _threshold(source)
    yield from _small_in_2_2(source)
    yield from convert_lesions(source)


def _step(source: Source, name: str) -> Iterator[Fact]:
    """One step, in the order of the JSON."""
    key = f"{_P}.{name}"
    if name == "fill_holes":
        yield carry(source, key, (*_STEPS, name, "over"), "volume")
    elif name == "keep_largest":
        note = "ivadomed's neighbors have a face in common"
        yield carry(source, key, (*_STEPS, name, "connectivity"), 6, note)
    elif name == "remove_small":
        yield from _remove_small(source, key)
    elif name == "binarize_maxpooling":
        yield leave(key, "targets are thresholded each on its own")
    elif name == "remove_noise":
        why = "what is below the threshold of softseg eval is background"
        yield leave_unless_off(source, f"{key}.thr", why, off=[-1])
    elif name in ("uncertainty", "threshold_uncertainty"):
        off = source.get(f"{key}.thr") in (-1, None)
        for one in ("thr", "suffix"):
            yield leave(f"{key}.{one}", OFF if off else "scores do not leave out what is uncertain")


def _remove_small(source: Source, key: str) -> Iterator[Fact]:
    step = (*_STEPS, "remove_small")
    given = source.get(f"{key}.thr", 3)
    sizes = given if isinstance(given, list) and given else [given]
    if not all(isinstance(one, int | float) for one in sizes):
        raise source.wrong(f"{key}.thr", "must be a size", given)
    note = "" if len(set(sizes)) == 1 else "one size for all targets: the smallest"
    yield carry(source, f"{key}.thr", (*step, "minimum"), min(sizes), note)
    yield carry(source, f"{key}.unit", (*step, "unit"), unit_of(source, f"{key}.unit"))
    yield fixed((*step, "connectivity"), 18, "ivadomed's")
    if len(set(sizes)) > 1:
        yield leave(f"{key}.thr", "targets share one size: only the smallest is carried over")


def _small_in_2_2(source: Source) -> Iterator[Fact]:
    """ivadomed 2.2 removes small objects of both masks before it scores."""
    key = "evaluation_parameters.removeSmall"
    if source.version == "2.2" and source.has(key):
        yield from _remove_small(source, key)
        yield warn(
            f"{key}.thr", _NOT_2_9.format("postprocessing.remove_small, of predictions only")
        )
    elif source.has(key):
        for one in ("thr", "unit"):
            yield warn(f"{key}.{one}", "ivadomed 2.9 ignored it: nothing is removed by size")


def _threshold(source: Source) -> Iterator[Fact]:
    new, old = _THRESHOLDS
    for key in (new, old):
        yield leave(key, _how(source.get(key)))
    if source.version == "2.9":
        yield warn(old, "ivadomed 2.9 does not read testing_parameters and ignored it")
    else:
        yield warn(old, _NOT_2_9.format("postprocessing.binarize_prediction"))


def _how(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return f"no key of a YAML: softseg eval --threshold {value:g}, or --threshold-search"
    if value == -1:
        return "ivadomed scored soft predictions; softseg has soft and binary scores side by side: \
softseg eval --threshold-search"
    return "no key of a YAML: softseg eval --threshold-search, or --threshold"


_E = "evaluation_parameters"
_LESIONS = ("evaluate", "lesions")
_UNITS = {"vox": "voxels", "mm3": "mm3"}


def unit_of(source: Source, key: str) -> str:
    """voxels | mm3. Raises UserError for another unit."""
    given = source.text(key, "vox")
    if given not in _UNITS:
        raise source.wrong(key, "must be vox or mm3", given)
    return _UNITS[given]


def convert_lesions(source: Source) -> Iterator[Fact]:
    """`evaluate.lesions`, where the JSON asks for anything lesion by lesion."""
    sizes, others = "target_size", "targetSize"
    if source.version == "2.2":
        sizes, others = others, sizes
    asked = source.has(f"{_E}.{sizes}") or source.has(f"{_E}.overlap")
    asked = asked or bool(source.get(f"{_E}.object_detection_metrics"))
    yield from _switch(source)
    if source.get(f"{_E}.object_detection_metrics", True) and asked:
        yield from _minimum(source)
        yield from _overlap(source)
        yield from _sizes(source, f"{_E}.{sizes}")
    else:
        for key in (sizes, "overlap"):
            for one in ("thr", "unit"):
                yield leave(f"{_E}.{key}.{one}", OFF)
    yield from _of_other_version(source, sizes, others)


def _switch(source: Source) -> Iterator[Fact]:
    key = f"{_E}.object_detection_metrics"
    on = source.flag(key, True)
    if on:
        yield also(key, _LESIONS)
    else:
        yield leave(key, OFF)


def _minimum(source: Source) -> Iterator[Fact]:
    small = f"{_E}.removeSmall"
    path = (*_LESIONS, "minimum")
    if source.version == "2.2" and source.has(small):
        yield carry(source, f"{small}.thr", path, source.number(f"{small}.thr", 3))
        unit = unit_of(source, f"{small}.unit")
        yield carry(source, f"{small}.unit", (*_LESIONS, "unit"), unit)
    else:
        yield fixed(path, 0, "ivadomed leaves no lesion out by its size")


def _overlap(source: Source) -> Iterator[Fact]:
    key = f"{_E}.overlap"
    if source.text(f"{key}.unit", "vox") == "vox":
        voxels = source.number(f"{key}.thr", 3)
        note = "ivadomed never detects a lesion of fewer voxels"
        yield carry(source, f"{key}.thr", (*_LESIONS, "overlap"), voxels, note)
        yield also(f"{key}.unit", (*_LESIONS, "overlap"))
    else:
        for one in ("thr", "unit"):
            yield leave(f"{key}.{one}", "overlaps are counted in voxels; softseg's 3 stand")


def _sizes(source: Source, key: str) -> Iterator[Fact]:
    edges = source.items(f"{key}.thr", (int, float))
    unit = unit_of(source, f"{key}.unit")
    small = f"{_E}.removeSmall"
    removes = source.version == "2.2" and source.has(small)
    minimum = source.number(f"{small}.thr", 3) if removes else 0
    mixed = minimum and unit != unit_of(source, f"{small}.unit")
    rising = all(low < high for low, high in pairwise([minimum - 1, *edges]))
    if mixed or not rising or (edges and edges[0] < minimum):
        why = "sizes must rise, have the unit of removeSmall and be no smaller"
        yield leave(f"{key}.thr", why)
        yield leave(f"{key}.unit", why)
    elif edges:
        yield carry(source, f"{key}.thr", (*_LESIONS, "size_bins"), edges)
        yield carry(source, f"{key}.unit", (*_LESIONS, "unit"), unit)


def _of_other_version(source: Source, sizes: str, others: str) -> Iterator[Fact]:
    for one in ("thr", "unit"):
        if source.version == "2.2":
            told = f"ivadomed 2.9 ignores it (there it is {others}): the YAML takes it as 2.2 did"
            yield warn(f"{_E}.{sizes}.{one}", told)
        else:
            yield warn(f"{_E}.{others}.{one}", "ivadomed 2.9 ignored it: there are no such bins")
