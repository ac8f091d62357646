"""`slice_axis` and the filters of `loader_parameters` -> `slices`."""

from __future__ import annotations

from collections.abc import Iterator

from softseg.convert.facts import OFF, Fact, carry, leave, leave_unless_off, warn
from softseg.convert.read import Source

_L = "loader_parameters"
_F = f"{_L}.slice_filter_params"
_ABSENT = f"{_F}.filter_absent_class"
_ONE_OF_THEM = "slices are dropped where no target is (drop: empty_target), not where one of them \
is not"
_INERT = "ivadomed reads it only with roi_params.suffix and ROICrop: it dropped no slice, and \
neither does the YAML"
_DROP = ("slices", "drop")
_PATCHES = "training takes whole slices, not patches"
_RULES = {"filter_empty_input": ("empty_input", True), "filter_empty_mask": ("empty_target", False)}


def crops_around_roi(source: Source) -> bool:
    """Whether the ROI mask is used: ivadomed looks at it only with ROICrop."""
    return bool(source.get(f"{_L}.roi_params.suffix")) and source.has("transformation.ROICrop")


def convert_slices(source: Source) -> Iterator[Fact]:
    """`slices`, and the filters that have no counterpart."""
    axis = source.text(f"{_L}.slice_axis", "axial")
    yield carry(source, f"{_L}.slice_axis", ("slices", "axis"), axis)
    drop = _drop(source)
    for key in _RULES:
        yield carry(source, f"{_F}.{key}", _DROP, drop)
    if _absent_class(source):
        yield carry(source, _ABSENT, _DROP, drop, "with one target the same as filter_empty_mask")
    else:
        yield leave_unless_off(source, _ABSENT, _ONE_OF_THEM)
    yield from _roi(source, drop)
    yield from _without_counterpart(source)


def _drop(source: Source) -> list[str]:
    """Which slices are dropped."""
    rules = _RULES.items()
    drop = [ours for key, (ours, default) in rules if source.flag(f"{_F}.{key}", default)]
    if _absent_class(source) and "empty_target" not in drop:
        drop.append("empty_target")
    return [*drop, "no_roi"] if crops_around_roi(source) else drop


def _absent_class(source: Source) -> bool:
    """Whether slices without one target are dropped, and there is only one."""
    targets = source.items(f"{_L}.target_suffix", (str, list))
    return len(targets) == 1 and source.flag(_ABSENT, False)


def _roi(source: Source, drop: list[str]) -> Iterator[Fact]:
    key = f"{_L}.roi_params.slice_filter_roi"
    if crops_around_roi(source):
        note = "ivadomed also dropped slices with no more ROI voxels than this; here those with 0"
        yield carry(source, key, _DROP, drop, note)
    elif source.get(key) is None:
        yield leave(key, OFF)
    else:
        yield warn(key, _INERT)


def _without_counterpart(source: Source) -> Iterator[Fact]:
    classifier = "slices are not chosen by a classifier"
    yield leave_unless_off(source, f"{_F}.filter_classification", classifier)
    yield leave_unless_off(source, f"{_F}.classifier_path", classifier)
    for key in ("filter_empty_mask", "filter_empty_input", "filter_absent_class"):
        yield leave_unless_off(source, f"{_L}.patch_filter_params.{key}", _PATCHES)
