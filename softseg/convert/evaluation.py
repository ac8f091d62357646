"""`postprocessing`, `testing_parameters` and `evaluation_parameters` -> `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.convert.facts import OFF, Fact, carry, fixed, leave, leave_unless_off, warn
from softseg.convert.lesions import convert_lesions, unit_of
from softseg.convert.read import Source

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
        note = "ivadomed's neighbours have a face in common"
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
