"""Convert `postprocessing`, `testing_parameters` and `evaluation_parameters` to `evaluate`."""

from __future__ import annotations

from itertools import pairwise

from softseg.interop.from_ivadomed.outcomes import OFF, Outcomes
from softseg.interop.from_ivadomed.read import IvadomedConfig

_P = "postprocessing"
_STEPS = ("evaluate", "postprocess")
_SMALL_STEP = (*_STEPS, "remove_small")
_NOT_2_9 = "ivadomed 2.9 ignores it (there it is {}): the YAML file applies it as 2.2 did"
_UNITS = {"vox": "voxels", "mm3": "mm3"}
_SOFT = "ivadomed scored soft predictions; softseg reports soft and binary scores next to each \
other: softseg eval --threshold-search"
_E = "evaluation_parameters"
_SMALL, _OVERLAP = f"{_E}.removeSmall", f"{_E}.overlap"
_LESIONS = ("evaluate", "lesions")


def convert_evaluation(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert postprocessing and metrics; report the option of `softseg eval` for a threshold."""
    for name in config.mapping(_P):
        _convert_step(config, outcomes, name)
    old, new = "testing_parameters.binarize_prediction", f"{_P}.binarize_prediction.thr"
    for key in (new, old):
        value = config.get(key)
        option = "softseg eval --threshold-search, or --threshold"
        if type(value) in (int, float) and 0 <= value <= 1:
            option = f"softseg eval --threshold {value:g}, or --threshold-search"
        outcomes.leave_out(key, _SOFT if value == -1 else f"not a key of softseg: {option}")
    if config.version == "2.9":
        outcomes.warn(old, "ivadomed 2.9 does not read testing_parameters and ignored it")
    else:
        outcomes.warn(old, _NOT_2_9.format("postprocessing.binarize_prediction"))
    removes_small = config.version == "2.2" and config.has(_SMALL)
    if removes_small:  # from both masks, before scoring
        for step in (_SMALL_STEP, ("evaluate", "remove_small_from_truth")):
            _convert_remove_small(config, outcomes, _SMALL, step)
        instead = "postprocessing.remove_small, of predictions only"
        outcomes.warn(f"{_SMALL}.thr", _NOT_2_9.format(instead))
    else:
        for field in ("thr", "unit"):
            message = "ivadomed 2.9 ignored it: nothing is removed by size"
            outcomes.warn(f"{_SMALL}.{field}", message)
    _convert_lesions(config, outcomes, removes_small)


def _convert_step(config: IvadomedConfig, outcomes: Outcomes, name: str) -> None:
    """Convert one step of `postprocessing`."""
    key = f"{_P}.{name}"
    if name == "fill_holes":
        outcomes.carry_over(key, (*_STEPS, name, "over"), "volume")
    elif name == "keep_largest":
        note = "ivadomed's neighbors share a face"
        outcomes.carry_over(key, (*_STEPS, name, "connectivity"), 6, note)
    elif name == "remove_small":
        _convert_remove_small(config, outcomes, key, _SMALL_STEP)
    elif name == "binarize_maxpooling":
        outcomes.leave_out(key, "each target has a threshold of its own")
    elif name == "remove_noise":
        reason = "values below the threshold of softseg eval are background"
        outcomes.leave_out_unless_off(f"{key}.thr", reason, off=[-1])
    elif name in ("uncertainty", "threshold_uncertainty"):
        off = config.get(f"{key}.thr") in (-1, None)
        reason = OFF if off else "uncertain voxels are not left out of the scores"
        for field in ("thr", "suffix"):
            outcomes.leave_out(f"{key}.{field}", reason)


def _convert_remove_small(
    config: IvadomedConfig, outcomes: Outcomes, key: str, step: tuple[str, ...]
) -> None:
    """Convert the removal of small objects; softseg has one minimum size for all targets."""
    value = config.get(f"{key}.thr", 3)
    sizes = value if isinstance(value, list) and value else [value]
    if not all(isinstance(size, int | float) for size in sizes):
        raise config.error(f"{key}.thr", "must be a size", value)
    differ = len(set(sizes)) > 1
    note = "one size for all targets: the smallest" if differ else ""
    outcomes.carry_over(f"{key}.thr", (*step, "minimum"), min(sizes), note)
    outcomes.carry_over(f"{key}.unit", (*step, "unit"), _unit(config, key))
    outcomes.write((*step, "connectivity"), 18, "as in ivadomed")
    if differ:
        reason = "targets share one size: only the smallest is carried over"
        outcomes.leave_out(f"{key}.thr", reason)


def _convert_lesions(config: IvadomedConfig, outcomes: Outcomes, removes_small: bool) -> None:
    """Convert lesion-wise metrics to `evaluate.lesions` if the JSON asks for any."""
    sizes, other_sizes = "target_size", "targetSize"
    if config.version == "2.2":
        sizes, other_sizes = other_sizes, sizes
    switch = f"{_E}.object_detection_metrics"
    if config.flag(switch, True):
        outcomes.contribute(switch, _LESIONS)
    else:
        outcomes.leave_out(switch, OFF)
    requested = config.has(f"{_E}.{sizes}") or config.has(_OVERLAP) or config.get(switch)
    if config.get(switch, True) and requested:
        _convert_detection(config, outcomes, removes_small)
        _convert_size_bins(config, outcomes, f"{_E}.{sizes}", removes_small)
    else:
        for key in (f"{_E}.{sizes}", _OVERLAP):
            for field in ("thr", "unit"):
                outcomes.leave_out(f"{key}.{field}", OFF)
    for field in ("thr", "unit"):
        if config.version == "2.2":
            outcomes.warn(f"{_E}.{sizes}.{field}", _NOT_2_9.format(other_sizes))
        else:
            message = "ivadomed 2.9 ignored it: there are no such bins"
            outcomes.warn(f"{_E}.{other_sizes}.{field}", message)


def _convert_detection(config: IvadomedConfig, outcomes: Outcomes, removes_small: bool) -> None:
    """Convert the smallest lesion that counts, and the overlap that detects a lesion."""
    minimum = (*_LESIONS, "minimum")
    if removes_small:
        outcomes.carry_over_number(f"{_SMALL}.thr", minimum, 3)
        outcomes.carry_over(f"{_SMALL}.unit", (*_LESIONS, "unit"), _unit(config, _SMALL))
    else:
        outcomes.write(minimum, 0, "ivadomed does not leave out lesions by size")
    if config.text(f"{_OVERLAP}.unit", "vox") == "vox":
        path, note = (*_LESIONS, "overlap"), "ivadomed never detects a lesion of fewer voxels"
        outcomes.carry_over_number(f"{_OVERLAP}.thr", path, 3, note)
        outcomes.contribute(f"{_OVERLAP}.unit", path)
    else:
        for field in ("thr", "unit"):
            reason = "overlaps are counted in voxels; softseg's default of 3 is used"
            outcomes.leave_out(f"{_OVERLAP}.{field}", reason)


def _convert_size_bins(
    config: IvadomedConfig, outcomes: Outcomes, key: str, removes_small: bool
) -> None:
    """Convert the edges of size bins if they rise from the minimum and have its unit."""
    edges = config.items(f"{key}.thr", (int, float))
    unit = _unit(config, key)
    minimum = config.number(f"{_SMALL}.thr", 3) if removes_small else 0
    other_unit = minimum and unit != _unit(config, _SMALL)
    rising = all(low < high for low, high in pairwise([minimum - 1, *edges]))
    if other_unit or not rising or (edges and edges[0] < minimum):
        reason = "sizes must rise, have the unit of removeSmall and not be smaller"
        outcomes.leave_out(f"{key}.thr", reason)
        outcomes.leave_out(f"{key}.unit", reason)
    elif edges:
        outcomes.carry_over(f"{key}.thr", (*_LESIONS, "size_bins"), edges)
        outcomes.carry_over(f"{key}.unit", (*_LESIONS, "unit"), unit)


def _unit(config: IvadomedConfig, key: str) -> str:
    """Return voxels | mm3, from `key.unit`; raises UserError for another unit."""
    unit = config.text(f"{key}.unit", "vox")
    if unit not in _UNITS:
        raise config.error(f"{key}.unit", "must be vox or mm3", unit)
    return _UNITS[unit]
