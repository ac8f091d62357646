"""Convert `training_parameters` to `trainer` and `loss`, and the keys of the whole file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from softseg.core.errors import UserError
from softseg.core.names import did_you_mean
from softseg.interop.from_ivadomed.outcomes import NOT_READ, OFF, OWN_RECORD, Outcomes
from softseg.interop.from_ivadomed.read import IvadomedConfig

_T = "training_parameters"
_SCHEDULER = f"{_T}.scheduler.lr_scheduler"
_STOP = ("trainer", "early_stopping")
_BALANCED = ("trainer", "oversample_foreground")
_NEAREST = {"CosineAnnealingWarmRestarts": "cosine", "CyclicLR": "constant"}
_BY_MASK = "slices are balanced by their masks only"
_PATIENCE = "ivadomed compared each epoch with the one before and never reset its counter: it \
stopped after this many bad epochs in all, and so does the YAML file (rule: published; best is \
recommended, whose epsilon is a fraction of the loss)"
_PRETRAINED = "network files of ivadomed are not read: training starts from random weights, or \
from a run or a package of softseg (init_from)"
_FOLDER = "a run's folder is runs/<name>, or `softseg train --out`"
_GPU = "it depends on the machine: trainer.device is auto, or use `softseg train --device cuda:0`"
_LOGGING = "runs write TensorBoard files and history.csv only"
_LEFT_OUT = {
    "command": "softseg has a command for each: `softseg train`, `softseg eval`, `softseg predict`",
    "path_output": _FOLDER,
    "log_directory": _FOLDER,
    "log_file": _FOLDER,
    "debugging": "there is no such mode: every run writes its full history",
    "gpu": _GPU,
    "gpu_ids": _GPU,
    "wandb.wandb_api_key": f"{_LOGGING}; it is a secret and is not copied",
    "wandb.project_name": _LOGGING,
    "wandb.group_name": _LOGGING,
    "wandb.run_name": _LOGGING,
    "wandb.log_grads_every": _LOGGING,
    # what ivadomed writes into the config_file.json of its output
    "split_path": f"{OWN_RECORD}; a run has split.json",
    "training_sha256.*": f"{OWN_RECORD}; a run has fingerprints in run.json",
    "version_info.*": f"{OWN_RECORD}; a run has versions in run.json",
}
_DETECTION = "softseg does not detect a bounding box with another model; preprocess.crop with \
around: roi is similar"


def convert_general(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert `name` and `seed`, and report the keys without a counterpart."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", config.text("model_name", "my_model")).lstrip("._-")
    outcomes.carry_over("model_name", ("name",), name or "my_model")
    outcomes.write(("seed",), 0, "ivadomed seeded its split only")
    for key, reason in _LEFT_OUT.items():
        outcomes.leave_out(key, reason)
    detection = "object_detection_params.object_detection_path"
    factor = "object_detection_params.safety_factor"
    outcomes.leave_out_unless_off(detection, _DETECTION)
    # without a detection model nothing reads the factor
    outcomes.leave_out(factor, _DETECTION if config.get(detection) else OFF)
    for name in ("gpu_ids", "path_output"):  # ivadomed fills these in itself
        outcomes.leave_out(f"object_detection_params.{name}", OWN_RECORD)
    if config.version == "2.9":
        for key in ("gpu", "log_directory"):
            outcomes.warn(key, NOT_READ)
    else:
        outcomes.warn("gpu", "ivadomed 2.9 ignores it (there it is gpu_ids)")


def convert_training(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert batches, epochs, learning rate, early stopping and the balance of slices."""
    batch, rate = f"{_T}.batch_size", f"{_T}.scheduler.initial_lr"
    outcomes.carry_over_number(batch, ("trainer", "batch_size"), 18)
    time = f"{_T}.training_time"
    patience = f"{time}.early_stopping_patience"
    outcomes.carry_over_number(f"{time}.num_epochs", ("trainer", "max_epochs"), 100)
    outcomes.write((*_STOP, "rule"), "published", "as in ivadomed")
    outcomes.carry_over_number(patience, (*_STOP, "patience"), 50)
    epsilon = f"{time}.early_stopping_epsilon"
    outcomes.carry_over_number(epsilon, (*_STOP, "epsilon"), 0.001, "percent")
    outcomes.warn(patience, _PATIENCE)
    outcomes.carry_over_number(rate, ("trainer", "learning_rate"), 0.001)
    _convert_schedule(config, outcomes)
    _convert_balance(config, outcomes)
    outcomes.leave_out_unless_off(f"{_T}.mixup_alpha", "samples are not mixed")
    model = f"{_T}.transfer_learning.retrain_model"
    outcomes.leave_out_unless_off(model, _PRETRAINED)
    for name in ("retrain_fraction", "reset"):
        reason = _PRETRAINED if config.get(model) else OFF
        outcomes.leave_out(f"{_T}.transfer_learning.{name}", reason)


def _convert_schedule(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the schedule; only CyclicLR reads rates, and only warm restarts T_0 and T_mult."""
    name = config.text(f"{_SCHEDULER}.name", "CosineAnnealingLR")
    ours = _NEAREST.get(name, "cosine")
    outcomes.carry_over(f"{_SCHEDULER}.name", ("trainer", "schedule", "name"), ours)
    if name in _NEAREST:
        outcomes.leave_out(f"{_SCHEDULER}.name", f"there is no {name}; {ours} is the nearest")
    elif name != "CosineAnnealingLR":
        raise config.error(f"{_SCHEDULER}.name", "must be a scheduler of ivadomed", name)
    reads = {"CyclicLR": ("base_lr", "max_lr"), "CosineAnnealingWarmRestarts": ("T_0", "T_mult")}
    for key in ("base_lr", "max_lr", "T_0", "T_mult"):
        if key in reads.get(name, ()):
            outcomes.leave_out(f"{_SCHEDULER}.{key}", f"there is no {name}")
        else:
            outcomes.warn(f"{_SCHEDULER}.{key}", f"{name} does not read it: ivadomed ignored it")


def _convert_balance(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the balance of slices: true or false in ivadomed 2.2, a mapping in 2.9."""
    key = f"{_T}.balance_samples"
    value = config.get(key)
    switch = f"{key}.applied" if isinstance(value, dict) else key
    applied, kind = config.flag(switch, False), "gt"
    if isinstance(value, dict):
        kind = config.text(f"{key}.type", "gt")
        if not applied or kind != "gt":
            outcomes.leave_out(f"{key}.type", _BY_MASK if applied else OFF)
    if applied and kind == "gt":
        note = "ivadomed balanced the validation slices too"
        outcomes.carry_over(switch, _BALANCED, 0.5, note)
        outcomes.contribute(f"{key}.type", _BALANCED)
    else:
        outcomes.leave_out_unless_off(switch, _BY_MASK)


def convert_uncertainty(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Report the keys of uncertainty: at the top in 2.9, below `testing_parameters` in 2.2."""
    reason = "not a key of softseg: uncertainty is an option of softseg predict"
    for section in ("uncertainty", "testing_parameters.uncertainty"):
        kinds = [config.get(f"{section}.{kind}") for kind in ("epistemic", "aleatoric")]
        on = any(kinds) and config.get(f"{section}.n_it", 0) != 0
        for key in ("epistemic", "aleatoric", "n_it"):
            outcomes.leave_out(f"{section}.{key}", reason if on else OFF)


_LOSS = f"{_T}.loss"


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
_DICE = (
    "ivadomed's loss is this one minus 1, over all targets at once; softseg averages over targets"
)
_COUNTERPARTS = {
    "AdapWingLoss": _Counterpart("adaptive_wing", _WING, _SUM, note="ivadomed sums over the batch"),
    "DiceLoss": _Counterpart("dice", (("smooth", "smooth", 1.0),), note=_DICE),
    "MultiClassDiceLoss": _Counterpart(
        "dice",
        left_out=(("classes_of_interest", "all targets count"),),
        note="ivadomed's loss is this one minus 1",
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
    "TverskyLoss": _Counterpart("tversky", _TVERSKY, note="ivadomed's loss is this one minus 1"),
    "FocalTverskyLoss": _Counterpart("focal_tversky", (*_TVERSKY, ("gamma", "gamma", 1.33))),
    "L2loss": _Counterpart(
        "mse", fixed=_SUM, note="ivadomed halves it, which makes no difference to Adam"
    ),
}
_FOCAL_DICE = "a sum of the two losses; ivadomed has ln(focal) - beta ln(Dice), which softseg does \
not have"


def convert_loss(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert the loss, every parameter written out; raises UserError for an unknown loss."""
    name = config.text(f"{_LOSS}.name", "DiceLoss")
    if name == "LossCombination":
        _convert_combination(config, outcomes)
    elif name == "FocalDiceLoss":
        gamma, alpha = (config.get(f"{_LOSS}.{theirs}", default) for theirs, _, default in _FOCAL)
        beta = config.number(f"{_LOSS}.beta", 1)
        focal = {"name": "focal", "gamma": gamma, "alpha": alpha, "reduction": "mean"}
        terms = [{"loss": focal, "weight": 1.0}, {"loss": {"name": "dice"}, "weight": float(beta)}]
        outcomes.write(("loss", "name"), "combination")
        outcomes.leave_out(f"{_LOSS}.name", _FOCAL_DICE)
        for key in ("gamma", "alpha", "beta"):
            outcomes.carry_over(f"{_LOSS}.{key}", ("loss", "terms"), terms)
    else:
        loss = _counterpart(config, name)
        outcomes.carry_over(f"{_LOSS}.name", ("loss", "name"), loss.name, loss.note)
        for theirs, ours, default in loss.parameters:
            value = config.get(f"{_LOSS}.{theirs}", default)
            outcomes.carry_over(f"{_LOSS}.{theirs}", ("loss", ours), value)
        for ours, value in loss.fixed:
            outcomes.write(("loss", ours), value, "as in ivadomed")
        for theirs, reason in loss.left_out:
            outcomes.leave_out(f"{_LOSS}.{theirs}", reason)


def _counterpart(config: IvadomedConfig, name: str) -> _Counterpart:
    if name not in _COUNTERPARTS:
        hint = did_you_mean(name, [*_COUNTERPARTS, "LossCombination", "FocalDiceLoss"])
        raise UserError(f"{config.file}: {_LOSS}.name: ivadomed has no loss {name!r}{hint}")
    return _COUNTERPARTS[name]


def _convert_combination(config: IvadomedConfig, outcomes: Outcomes) -> None:
    """Convert a sum of losses to a combination with weights of 1."""
    names = config.items(f"{_LOSS}.losses_list", str)
    parameters = config.items(f"{_LOSS}.params_list", (dict, type(None))) or [None] * len(names)
    if len(names) < 2 or len(parameters) != len(names):
        problem = "must be two losses or more, with as many parameters"
        raise config.error(f"{_LOSS}.losses_list", problem, names)
    terms = []
    for name, values in zip(names, (each or {} for each in parameters), strict=True):
        loss = _counterpart(config, name)
        unknown = set(values) - {theirs for theirs, _, _ in loss.parameters}
        if unknown:
            problem = f"{name} takes no {min(unknown)}"
            raise config.error(f"{_LOSS}.params_list", problem, values)
        ours = {ours: values.get(theirs, default) for theirs, ours, default in loss.parameters}
        terms.append({"loss": {"name": loss.name, **ours, **dict(loss.fixed)}, "weight": 1.0})
    outcomes.carry_over(f"{_LOSS}.name", ("loss", "name"), "combination")
    outcomes.carry_over(f"{_LOSS}.losses_list", ("loss", "terms"), terms)
    outcomes.carry_over(f"{_LOSS}.params_list", ("loss", "terms"), terms)
