"""`evaluation_parameters` -> `evaluate.lesions`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from softseg.convert.facts import OFF, Fact, also, carry, fixed, leave, warn
from softseg.convert.read import Source

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
