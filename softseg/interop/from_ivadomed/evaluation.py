"""Convert `postprocessing`, `testing_parameters` and `evaluation_parameters` to `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from softseg.interop.from_ivadomed.outcomes import (
    OFF,
    KeyOutcome,
    carry_over,
    contribute,
    leave_out,
    leave_out_unless_off,
    warn,
    write_fixed,
)
from softseg.interop.from_ivadomed.read import IvadomedConfig

_P = "postprocessing"
_STEPS = ("evaluate", "postprocess")
_NOT_2_9 = "ivadomed 2.9 ignores it (there it is {}): the YAML applies it as 2.2 did"
_UNITS = {"vox": "voxels", "mm3": "mm3"}
_SOFT = "ivadomed scored soft predictions; softseg reports soft and binary scores next to each \
other: softseg eval --threshold-search"
_E = "evaluation_parameters"
_LESIONS = ("evaluate", "lesions")


def convert_evaluation(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert postprocessing and metrics; a threshold is an option of `softseg eval`, not a key."""
    for name in config.mapping(_P):
        yield from _postprocessing_step(config, name)
    yield from _threshold(config)
    small = f"{_E}.removeSmall"
    if config.version == "2.2" and config.has(small):  # from both masks, before scoring
        yield from _remove_small(config, small)
        instead = "postprocessing.remove_small, of predictions only"
        yield warn(f"{small}.thr", _NOT_2_9.format(instead))
    elif config.has(small):
        for field in ("thr", "unit"):
            yield warn(f"{small}.{field}", "ivadomed 2.9 ignored it: nothing is removed by size")
    yield from convert_lesions(config)


def _postprocessing_step(config: IvadomedConfig, name: str) -> Iterator[KeyOutcome]:
    """Convert one step of `postprocessing`."""
    key = f"{_P}.{name}"
    if name == "fill_holes":
        yield carry_over(config, key, (*_STEPS, name, "over"), "volume")
    elif name == "keep_largest":
        note = "ivadomed's neighbors share a face"
        yield carry_over(config, key, (*_STEPS, name, "connectivity"), 6, note)
    elif name == "remove_small":
        yield from _remove_small(config, key)
    elif name == "binarize_maxpooling":
        yield leave_out(key, "each target has a threshold of its own")
    elif name == "remove_noise":
        reason = "values below the threshold of softseg eval are background"
        yield leave_out_unless_off(config, f"{key}.thr", reason, off=[-1])
    elif name in ("uncertainty", "threshold_uncertainty"):
        off = config.get(f"{key}.thr") in (-1, None)
        for field in ("thr", "suffix"):
            reason = OFF if off else "uncertain voxels are not left out of the scores"
            yield leave_out(f"{key}.{field}", reason)


def _remove_small(config: IvadomedConfig, key: str) -> Iterator[KeyOutcome]:
    """Convert the removal of small objects; softseg has one minimum size for all targets."""
    step = (*_STEPS, "remove_small")
    value = config.get(f"{key}.thr", 3)
    sizes = value if isinstance(value, list) and value else [value]
    if not all(isinstance(size, int | float) for size in sizes):
        raise config.error(f"{key}.thr", "must be a size", value)
    differ = len(set(sizes)) > 1
    note = "one size for all targets: the smallest" if differ else ""
    yield carry_over(config, f"{key}.thr", (*step, "minimum"), min(sizes), note)
    yield carry_over(config, f"{key}.unit", (*step, "unit"), _unit(config, f"{key}.unit"))
    yield write_fixed((*step, "connectivity"), 18, "as in ivadomed")
    if differ:
        yield leave_out(f"{key}.thr", "targets share one size: only the smallest is carried over")


def _threshold(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Report the threshold with the option of `softseg eval` that replaces it."""
    old, new = "testing_parameters.binarize_prediction", f"{_P}.binarize_prediction.thr"
    for key in (new, old):
        value = config.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            option = f"softseg eval --threshold {value:g}, or --threshold-search"
            yield leave_out(key, f"not a key of a YAML: {option}")
        elif value == -1:
            yield leave_out(key, _SOFT)
        else:
            option = "softseg eval --threshold-search, or --threshold"
            yield leave_out(key, f"not a key of a YAML: {option}")
    if config.version == "2.9":
        yield warn(old, "ivadomed 2.9 does not read testing_parameters and ignored it")
    else:
        yield warn(old, _NOT_2_9.format("postprocessing.binarize_prediction"))


def convert_lesions(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert lesion-wise metrics to `evaluate.lesions` if the JSON asks for any."""
    sizes, other_sizes = "target_size", "targetSize"
    if config.version == "2.2":
        sizes, other_sizes = other_sizes, sizes
    switch = f"{_E}.object_detection_metrics"
    requested = config.has(f"{_E}.{sizes}") or config.has(f"{_E}.overlap")
    requested = requested or bool(config.get(switch))
    yield contribute(switch, _LESIONS) if config.flag(switch, True) else leave_out(switch, OFF)
    if config.get(switch, True) and requested:
        yield from _detection(config)
        yield from _size_bins(config, f"{_E}.{sizes}")
    else:
        for key in (sizes, "overlap"):
            for field in ("thr", "unit"):
                yield leave_out(f"{_E}.{key}.{field}", OFF)
    for field in ("thr", "unit"):
        if config.version == "2.2":
            yield warn(f"{_E}.{sizes}.{field}", _NOT_2_9.format(other_sizes))
        else:
            message = "ivadomed 2.9 ignored it: there are no such bins"
            yield warn(f"{_E}.{other_sizes}.{field}", message)


def _detection(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the smallest lesion that counts, and the overlap that detects a lesion."""
    small, overlap = f"{_E}.removeSmall", f"{_E}.overlap"
    minimum = (*_LESIONS, "minimum")
    if config.version == "2.2" and config.has(small):
        yield carry_over(config, f"{small}.thr", minimum, config.number(f"{small}.thr", 3))
        unit = _unit(config, f"{small}.unit")
        yield carry_over(config, f"{small}.unit", (*_LESIONS, "unit"), unit)
    else:
        yield write_fixed(minimum, 0, "ivadomed does not leave out lesions by size")
    if config.text(f"{overlap}.unit", "vox") == "vox":
        path, voxels = (*_LESIONS, "overlap"), config.number(f"{overlap}.thr", 3)
        note = "ivadomed never detects a lesion of fewer voxels"
        yield carry_over(config, f"{overlap}.thr", path, voxels, note)
        yield contribute(f"{overlap}.unit", path)
    else:
        for field in ("thr", "unit"):
            reason = "overlaps are counted in voxels; softseg's default of 3 is used"
            yield leave_out(f"{overlap}.{field}", reason)


def _size_bins(config: IvadomedConfig, key: str) -> Iterator[KeyOutcome]:
    """Convert the edges of size bins if they rise from the minimum and have its unit."""
    edges = config.items(f"{key}.thr", (int, float))
    unit = _unit(config, f"{key}.unit")
    small = f"{_E}.removeSmall"
    removes = config.version == "2.2" and config.has(small)
    minimum = config.number(f"{small}.thr", 3) if removes else 0
    other_unit = minimum and unit != _unit(config, f"{small}.unit")
    rising = all(low < high for low, high in pairwise([minimum - 1, *edges]))
    if other_unit or not rising or (edges and edges[0] < minimum):
        reason = "sizes must rise, have the unit of removeSmall and not be smaller"
        yield leave_out(f"{key}.thr", reason)
        yield leave_out(f"{key}.unit", reason)
    elif edges:
        yield carry_over(config, f"{key}.thr", (*_LESIONS, "size_bins"), edges)
        yield carry_over(config, f"{key}.unit", (*_LESIONS, "unit"), unit)


def _unit(config: IvadomedConfig, key: str) -> str:
    """Return voxels | mm3; raises UserError for another unit."""
    unit = config.text(key, "vox")
    if unit not in _UNITS:
        raise config.error(key, "must be vox or mm3", unit)
    return _UNITS[unit]
