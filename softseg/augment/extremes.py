"""What a step does at the limits of its parameters, for pictures of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Generator, Tensor

from softseg.augment import (
    Affine,
    AugmentStep,
    ContrastDropout,
    Elastic,
    Flip,
    Mixup,
    TorchioTransform,
)
from softseg.augment.batch import Batch
from softseg.augment.random_step import Parameters, seeded

_CERTAIN = {"probability": 1.0, "probability_per_contrast": 1.0}
_NOT_SHOWN = {"name", "same_for_contrasts", *_CERTAIN}
_Variant: TypeAlias = tuple[str, Callable[[Batch, Generator], Batch]]


def extremes(step: AugmentStep, batch: Batch) -> list[tuple[str, Batch]]:
    """Return the batch after the step, at the limits of the step's parameters, with their values.

    All parameters are at their lower limits, then all at their upper ones; random fields, such as
    noise, have a fixed seed. `elastic` moves as far as it can, over its smallest and its largest
    distance; `flip` mirrors one axis after the other; `mixup` takes half of each sample; TorchIO's
    transforms and `contrast_dropout` are sampled twice. Limits that change nothing are left out, if
    there are others.
    """
    results = [
        (text, transform(batch.map_tensors(Tensor.clone), seeded(number)))
        for number, (text, transform) in enumerate(_variants(step, batch.image.dim() - 2))
    ]
    changing = [(text, result) for text, result in results if not _is_same(batch, result)]
    return changing or [("changes nothing here", batch)]


def _is_same(batch: Batch, other: Batch) -> bool:
    """Return whether image and target of the first sample are the same, up to rounding."""
    pairs = ((batch.image, other.image), (batch.target, other.target))
    return all(torch.allclose(one[0], two[0], atol=1e-5) for one, two in pairs)


def _variants(step: AugmentStep, axes: int) -> Iterator[_Variant]:
    """Yield the step at its limits, with the values of its parameters, for samples of that rank."""
    if isinstance(step, Affine):
        yield _affine_at(step, -1, axes)
        yield _affine_at(step, 1, axes)
    elif isinstance(step, Elastic):
        magnitude = step.magnitude[1]
        for scale in dict.fromkeys(step.scale):
            fixed = {"magnitude": (magnitude, magnitude), "scale": (scale, scale)}
            text = f"magnitude {_length(magnitude)}, scale {_length(scale)}"
            yield text, step.model_copy(update={**fixed, "probability": 1.0})
    elif isinstance(step, Flip):
        for axis in step.axes:
            yield f"axis {axis}", step.model_copy(update={"axes": (axis,), "probability": 1.0})
    elif isinstance(step, Mixup):
        yield (
            f"half of each of two {'slices' if axes == 2 else 'patches'}",
            partial(_mix_halves, step),
        )
    elif isinstance(step, TorchioTransform):
        settings = {key: value for key, value in (step.model_extra or {}).items() if key != "p"}
        for number in (1, 2):
            text = ", ".join(filter(None, [f"random sample {number}", _text(settings)]))
            yield text, step.model_copy(update={"p": 1})
    elif isinstance(step, ContrastDropout):
        for number in (1, 2):
            yield f"random sample {number}", step.model_copy(update=_CERTAIN)
    else:
        yield from _at_limits(step)


def _at_limits(step: AugmentStep) -> Iterator[_Variant]:
    """Yield a step with all of its ranges at their lower, then at their upper limits."""
    fields = type(step).model_fields
    values = {name: getattr(step, name) for name in fields if name not in _NOT_SHOWN}
    ranges = [name for name in values if fields[name].annotation == tuple[float, float]]
    others = {
        name: value
        for name, value in values.items()
        if name not in ranges and (value != fields[name].default or not ranges)
    }
    certain = {name: value for name, value in _CERTAIN.items() if name in fields}
    for end in (0, 1) if ranges else (0,):
        limits = {name: values[name][end] for name in ranges}
        fixed = {name: (limit, limit) for name, limit in limits.items()}
        yield _text({**limits, **others}), step.model_copy(update={**certain, **fixed})


def _affine_at(step: Affine, sign: Literal[-1, 1], axes: int) -> _Variant:
    """Return an affine step with all parameters at their lower (-1) or upper (1) limits."""

    def transform(batch: Batch, _: Generator) -> Batch:
        return step.apply(batch, step.at_limit(tuple(batch.image.shape), sign))

    one = step.at_limit((1,) * (2 + axes), sign)
    degrees = list(dict.fromkeys(one["angles"][0].rad2deg().tolist()))
    factors = list(dict.fromkeys(one["scale"][0].tolist()))
    parts = [
        ("rotation", degrees if any(degrees) else [], "°"),
        ("translation", [100 * sign * step.translation] if step.translation else [], " %"),
        ("scale", factors if factors != [1] else [], ""),
        ("shear", [sign * step.shear] if step.shear else [], ""),
    ]
    texts = [
        f"{name} {' and '.join(_number(value) + unit for value in values)}"
        for name, values, unit in parts
        if values
    ]
    return ", ".join(texts), transform


def _mix_halves(step: Mixup, batch: Batch, _: Generator) -> Batch:
    """Mix each sample with the following one, half of each."""
    count = len(batch.image)
    partner = torch.arange(count).roll(-1)
    parameters: Parameters = {"share": torch.full((count,), 0.5), "partner": partner}
    return step.apply(batch, parameters)


def _text(parameters: dict[str, Any]) -> str:
    """Return names and values of parameters, such as `exponent 1.5, inverted`."""
    words = []
    for name, value in parameters.items():
        plain = name.replace("_", " ")
        if isinstance(value, bool):
            words.append(plain if value else f"no {plain}")
        else:
            as_yaml = list(value) if isinstance(value, tuple) else value
            shown = _number(value) if isinstance(value, float) else str(as_yaml)
            words.append(f"{plain} {shown}")
    return ", ".join(words)


def _number(value: float) -> str:
    """Return a number with up to three digits and a typographic minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _length(value: float) -> str:
    """Return a number in mm that no line is broken in."""
    return f"{_number(value)}\N{NO-BREAK SPACE}mm"
