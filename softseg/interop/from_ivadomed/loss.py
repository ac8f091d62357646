"""Convert `training_parameters.loss` to `loss`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from softseg.core.errors import UserError
from softseg.core.names import did_you_mean
from softseg.interop.from_ivadomed.outcomes import (
    KeyOutcome,
    carry_over,
    leave_out,
    write_fixed,
)
from softseg.interop.from_ivadomed.read import IvadomedConfig

_KEY = "training_parameters.loss"


@dataclass(frozen=True)
class _Counterpart:
    """A loss of softseg that is the counterpart of one of ivadomed."""

    name: str
    parameters: tuple[tuple[str, str, Any], ...] = ()  # ivadomed's name, ours, default of ivadomed
    fixed: tuple[tuple[str, Any], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()  # parameter, reason
    note: str = ""


_SUM = (("reduction", "sum"),)
_TVERSKY = (("alpha", "fp_weight", 0.7), ("beta", "fn_weight", 0.3), ("smooth", "smooth", 1.0))
_FOCAL = (("gamma", "gamma", 2), ("alpha", "alpha", 0.25))
_WING = (("theta", "theta", 0.5), ("alpha", "alpha", 2.1), ("omega", "omega", 14),
         ("epsilon", "epsilon", 1))  # fmt: skip
_DICE = "ivadomed's is this minus 1, over all targets at once; softseg averages over targets"
_COUNTERPARTS = {
    "AdapWingLoss": _Counterpart("adaptive_wing", _WING, _SUM, note="ivadomed sums over the batch"),
    "DiceLoss": _Counterpart("dice", (("smooth", "smooth", 1.0),), note=_DICE),
    "MultiClassDiceLoss": _Counterpart(
        "dice",
        left_out=(("classes_of_interest", "all targets count"),),
        note="ivadomed's is this minus 1",
    ),
    "BinaryCrossEntropyLoss": _Counterpart("bce"),
    "FocalLoss": _Counterpart(
        "focal", (*_FOCAL, ("eps", "epsilon", 1e-7)), _SUM, note="ivadomed sums over the batch"
    ),
    "GeneralizedDiceLoss": _Counterpart(
        "generalized_dice",
        (("include_background", "background", True),),
        (("batch_dice", False), ("smooth", 0.0)),
        (("epsilon", "weights are not limited: an absent class has the largest one"),),
        "nearly the same: ivadomed also weights the slices of a batch",
    ),
    "TverskyLoss": _Counterpart("tversky", _TVERSKY, note="ivadomed's is this minus 1"),
    "FocalTverskyLoss": _Counterpart("focal_tversky", (*_TVERSKY, ("gamma", "gamma", 1.33))),
    "L2loss": _Counterpart(
        "mse", fixed=_SUM, note="ivadomed halves it, which makes no difference to Adam"
    ),
}
_COMBINED = ("LossCombination", "FocalDiceLoss")
_NEAREST = (
    "a sum of the two losses; ivadomed has ln(focal) - beta ln(Dice), which softseg does not \
have"
)


def convert_loss(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the loss, every parameter written out; raises UserError for an unknown loss."""
    name = config.text(f"{_KEY}.name", "DiceLoss")
    if name == "LossCombination":
        yield from _combination(config)
    elif name == "FocalDiceLoss":
        yield from _focal_dice(config)
    else:
        loss = _counterpart(config, name)
        yield carry_over(config, f"{_KEY}.name", ("loss", "name"), loss.name, loss.note)
        for theirs, ours, default in loss.parameters:
            value = config.get(f"{_KEY}.{theirs}", default)
            yield carry_over(config, f"{_KEY}.{theirs}", ("loss", ours), value)
        for ours, value in loss.fixed:
            yield write_fixed(("loss", ours), value, "as in ivadomed")
        for theirs, reason in loss.left_out:
            yield leave_out(f"{_KEY}.{theirs}", reason)


def _counterpart(config: IvadomedConfig, name: str) -> _Counterpart:
    if name not in _COUNTERPARTS:
        hint = did_you_mean(name, [*_COUNTERPARTS, *_COMBINED])
        raise UserError(f"{config.file}: {_KEY}.name: ivadomed has no loss {name!r}{hint}")
    return _COUNTERPARTS[name]


def _combination(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert a sum of losses to a combination with weights of 1."""
    names = config.items(f"{_KEY}.losses_list", str)
    parameters = config.items(f"{_KEY}.params_list", (dict, type(None))) or [None] * len(names)
    if len(names) < 2 or len(parameters) != len(names):
        problem = "must be two losses or more, with as many parameters"
        raise config.error(f"{_KEY}.losses_list", problem, names)
    terms = []
    for name, values in zip(names, (each or {} for each in parameters), strict=True):
        loss = _counterpart(config, name)
        unknown = set(values) - {theirs for theirs, _, _ in loss.parameters}
        if unknown:
            problem = f"{name} takes no {min(unknown)}"
            raise config.error(f"{_KEY}.params_list", problem, values)
        ours = {ours: values.get(theirs, default) for theirs, ours, default in loss.parameters}
        terms.append({"loss": {"name": loss.name, **ours, **dict(loss.fixed)}, "weight": 1.0})
    yield carry_over(config, f"{_KEY}.name", ("loss", "name"), "combination")
    yield carry_over(config, f"{_KEY}.losses_list", ("loss", "terms"), terms)
    yield carry_over(config, f"{_KEY}.params_list", ("loss", "terms"), terms)


def _focal_dice(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert a loss without a counterpart to the sum of its two parts."""
    gamma, alpha = (config.get(f"{_KEY}.{theirs}", default) for theirs, _, default in _FOCAL)
    beta = config.number(f"{_KEY}.beta", 1)
    focal = {"name": "focal", "gamma": gamma, "alpha": alpha, "reduction": "mean"}
    terms = [{"loss": focal, "weight": 1.0}, {"loss": {"name": "dice"}, "weight": float(beta)}]
    yield write_fixed(("loss", "name"), "combination")
    yield leave_out(f"{_KEY}.name", _NEAREST)
    for key in ("gamma", "alpha", "beta"):
        yield carry_over(config, f"{_KEY}.{key}", ("loss", "terms"), terms)
