"""`training_parameters.loss` -> `loss`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from softseg.core.errors import UserError
from softseg.core.names import did_you_mean
from softseg.interop.from_ivadomed.outcomes import Fact, carry, fixed, leave
from softseg.interop.from_ivadomed.read import Source

_KEY = "training_parameters.loss"


@dataclass(frozen=True)
class _Rule:
    """How a loss of ivadomed is written here."""

    name: str
    parameters: tuple[tuple[str, str, Any], ...] = ()  # ivadomed's, ours, ivadomed's default
    fixed: tuple[tuple[str, Any], ...] = ()
    left: tuple[tuple[str, str], ...] = ()  # parameter, why
    note: str = ""


_SUM = (("reduction", "sum"),)
_TVERSKY = (("alpha", "fp_weight", 0.7), ("beta", "fn_weight", 0.3), ("smooth", "smooth", 1.0))
_FOCAL = (("gamma", "gamma", 2), ("alpha", "alpha", 0.25))
_WING = (("theta", "theta", 0.5), ("alpha", "alpha", 2.1), ("omega", "omega", 14),
         ("epsilon", "epsilon", 1))  # fmt: skip
_DICE = "ivadomed's is this minus 1, over all targets at once; softseg takes their mean"
_RULES = {
    "AdapWingLoss": _Rule("adaptive_wing", _WING, _SUM, note="ivadomed sums over the batch"),
    "DiceLoss": _Rule("dice", (("smooth", "smooth", 1.0),), note=_DICE),
    "MultiClassDiceLoss": _Rule(
        "dice", left=(("classes_of_interest", "all targets count"),), note="less 1 in ivadomed"
    ),
    "BinaryCrossEntropyLoss": _Rule("bce"),
    "FocalLoss": _Rule(
        "focal", (*_FOCAL, ("eps", "epsilon", 1e-7)), _SUM, note="ivadomed sums over the batch"
    ),
    "GeneralizedDiceLoss": _Rule(
        "generalized_dice",
        (("include_background", "background", True),),
        (("batch_dice", False), ("smooth", 0.0)),
        (("epsilon", "weights are not cut off: an absent class has the largest one"),),
        "nearly: ivadomed weights the slices of a batch too",
    ),
    "TverskyLoss": _Rule("tversky", _TVERSKY, note="ivadomed's is this minus 1"),
    "FocalTverskyLoss": _Rule("focal_tversky", (*_TVERSKY, ("gamma", "gamma", 1.33))),
    "L2loss": _Rule("mse", fixed=_SUM, note="ivadomed halves it, which Adam does not notice"),
}
_COMBINED = ("LossCombination", "FocalDiceLoss")
_NEAREST = "a sum of the two losses; ivadomed has ln(focal) - beta ln(Dice), which softseg has not"


def convert_loss(source: Source) -> Iterator[Fact]:
    """`loss`, every parameter written out. Raises UserError for a loss that ivadomed has not."""
    name = source.text(f"{_KEY}.name", "DiceLoss")
    if name == "LossCombination":
        yield from _combination(source)
    elif name == "FocalDiceLoss":
        yield from _focal_dice(source)
    else:
        yield from _single(source, _rule(source, name))


def _rule(source: Source, name: str) -> _Rule:
    if name not in _RULES:
        near = did_you_mean(name, [*_RULES, *_COMBINED])
        raise UserError(f"{source.file}: {_KEY}.name: ivadomed has no loss {name!r}{near}")
    return _RULES[name]


def _single(source: Source, rule: _Rule) -> Iterator[Fact]:
    yield carry(source, f"{_KEY}.name", ("loss", "name"), rule.name, rule.note)
    for theirs, ours, default in rule.parameters:
        value = source.get(f"{_KEY}.{theirs}", default)
        yield carry(source, f"{_KEY}.{theirs}", ("loss", ours), value)
    for ours, value in rule.fixed:
        yield fixed(("loss", ours), value, "ivadomed's")
    for theirs, why in rule.left:
        yield leave(f"{_KEY}.{theirs}", why)


def _combination(source: Source) -> Iterator[Fact]:
    names = source.items(f"{_KEY}.losses_list", str)
    given = source.items(f"{_KEY}.params_list", (dict, type(None))) or [None] * len(names)
    if len(names) < 2 or len(given) != len(names):
        wanted = "must be two losses or more, with as many parameters"
        raise source.wrong(f"{_KEY}.losses_list", wanted, names)
    terms = [_term(source, name, one or {}) for name, one in zip(names, given, strict=True)]
    yield carry(source, f"{_KEY}.name", ("loss", "name"), "combination")
    yield carry(source, f"{_KEY}.losses_list", ("loss", "terms"), terms)
    yield carry(source, f"{_KEY}.params_list", ("loss", "terms"), terms)


def _term(source: Source, name: str, given: dict[str, Any]) -> dict[str, Any]:
    rule = _rule(source, name)
    unknown = set(given) - {theirs for theirs, _, _ in rule.parameters}
    if unknown:
        raise source.wrong(f"{_KEY}.params_list", f"{name} takes no {sorted(unknown)[0]}", given)
    values = {ours: given.get(theirs, default) for theirs, ours, default in rule.parameters}
    return {"loss": {"name": rule.name, **values, **dict(rule.fixed)}, "weight": 1.0}


def _focal_dice(source: Source) -> Iterator[Fact]:
    gamma, alpha = (source.get(f"{_KEY}.{theirs}", default) for theirs, _, default in _FOCAL)
    beta = source.number(f"{_KEY}.beta", 1)
    focal = {"name": "focal", "gamma": gamma, "alpha": alpha, "reduction": "mean"}
    terms = [{"loss": focal, "weight": 1.0}, {"loss": {"name": "dice"}, "weight": float(beta)}]
    yield fixed(("loss", "name"), "combination")
    yield leave(f"{_KEY}.name", _NEAREST)
    for key in ("gamma", "alpha", "beta"):
        yield carry(source, f"{_KEY}.{key}", ("loss", "terms"), terms)
