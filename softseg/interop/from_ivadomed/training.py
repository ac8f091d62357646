"""Convert `training_parameters` without its loss to `trainer`, and the keys of the whole file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from softseg.interop.from_ivadomed.outcomes import (
    OFF,
    OWN_RECORD,
    KeyOutcome,
    carry_over,
    carry_over_number,
    contribute,
    leave_out,
    leave_out_unless_off,
    warn,
    write_fixed,
)
from softseg.interop.from_ivadomed.read import IvadomedConfig

_T = "training_parameters"
_SCHEDULER = f"{_T}.scheduler.lr_scheduler"
_STOP = ("trainer", "early_stopping")
_BALANCED = ("trainer", "oversample_foreground")
_NEAREST = {"CosineAnnealingWarmRestarts": "cosine", "CyclicLR": "constant"}
_BY_MASK = "slices are balanced by their masks only"
_PATIENCE = "ivadomed compared each epoch with the one before and never reset its counter: it \
stopped after this many bad epochs in all; the YAML stops after this many without a new best"
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


def convert_training(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert batches, epochs, learning rate, early stopping and the balance of slices."""
    batch, rate = f"{_T}.batch_size", f"{_T}.scheduler.initial_lr"
    yield carry_over_number(config, batch, ("trainer", "batch_size"), 18)
    time = f"{_T}.training_time"
    patience = f"{time}.early_stopping_patience"
    yield carry_over_number(config, f"{time}.num_epochs", ("trainer", "max_epochs"), 100)
    yield carry_over_number(config, patience, (*_STOP, "patience"), 50)
    key = f"{time}.early_stopping_epsilon"
    share = float(Decimal(str(config.number(key, 0.001))) / 100)
    yield carry_over(config, key, (*_STOP, "epsilon"), share, "percent in ivadomed, a share here")
    yield warn(patience, _PATIENCE)
    yield carry_over_number(config, rate, ("trainer", "learning_rate"), 0.001)
    yield from _schedule(config)
    yield from _balance(config)
    yield leave_out_unless_off(config, f"{_T}.mixup_alpha", "samples are not mixed")
    model = f"{_T}.transfer_learning.retrain_model"
    yield leave_out_unless_off(config, model, _PRETRAINED)
    for name in ("retrain_fraction", "reset"):
        reason = _PRETRAINED if config.get(model) else OFF
        yield leave_out(f"{_T}.transfer_learning.{name}", reason)


def _schedule(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the schedule; only CyclicLR reads rates, and only warm restarts T_0 and T_mult."""
    name = config.text(f"{_SCHEDULER}.name", "CosineAnnealingLR")
    ours = _NEAREST.get(name, "cosine")
    yield carry_over(config, f"{_SCHEDULER}.name", ("trainer", "schedule", "name"), ours)
    if name in _NEAREST:
        yield leave_out(f"{_SCHEDULER}.name", f"there is no {name}; {ours} is the nearest")
    elif name != "CosineAnnealingLR":
        raise config.error(f"{_SCHEDULER}.name", "must be a scheduler of ivadomed", name)
    reads = {"CyclicLR": ("base_lr", "max_lr"), "CosineAnnealingWarmRestarts": ("T_0", "T_mult")}
    for key in ("base_lr", "max_lr", "T_0", "T_mult"):
        if key in reads.get(name, ()):
            yield leave_out(f"{_SCHEDULER}.{key}", f"there is no {name}")
        else:
            yield warn(f"{_SCHEDULER}.{key}", f"{name} does not read it: ivadomed ignored it")


def _balance(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the balance of slices: true or false in ivadomed 2.2, a mapping in 2.9."""
    key = f"{_T}.balance_samples"
    value = config.get(key)
    switch = f"{key}.applied" if isinstance(value, dict) else key
    applied, kind = config.flag(switch, False), "gt"
    if isinstance(value, dict):
        kind = config.text(f"{key}.type", "gt")
        if not applied or kind != "gt":
            yield leave_out(f"{key}.type", _BY_MASK if applied else OFF)
    if applied and kind == "gt":
        note = "ivadomed balanced the validation slices too"
        yield carry_over(config, switch, _BALANCED, 0.5, note)
        yield contribute(f"{key}.type", _BALANCED)
    else:
        yield leave_out_unless_off(config, switch, _BY_MASK)


def convert_general(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert `name` and `seed`, and report the keys without a counterpart."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", config.text("model_name", "my_model")).lstrip("._-")
    yield carry_over(config, "model_name", ("name",), name or "my_model")
    yield write_fixed(("seed",), 0, "ivadomed seeded its split only")
    for key, reason in _LEFT_OUT.items():
        yield leave_out(key, reason)
    detection = "object_detection_params.object_detection_path"
    factor = "object_detection_params.safety_factor"
    yield leave_out_unless_off(config, detection, _DETECTION)
    # without a detection model nothing reads the factor
    yield leave_out(factor, _DETECTION if config.get(detection) else OFF)
    for name in ("gpu_ids", "path_output"):  # ivadomed fills these in itself
        yield leave_out(f"object_detection_params.{name}", OWN_RECORD)
    if config.version == "2.9":
        for key in ("gpu", "log_directory"):
            yield warn(key, "ivadomed 2.9 does not read it and ignored it")
    else:
        yield warn("gpu", "ivadomed 2.9 ignores it (there it is gpu_ids)")


def convert_uncertainty(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Report the keys of uncertainty: at the top in 2.9, below `testing_parameters` in 2.2."""
    reason = "not a key of a YAML: uncertainty is an option of softseg predict"
    for section in ("uncertainty", "testing_parameters.uncertainty"):
        kinds = [config.get(f"{section}.{kind}") for kind in ("epistemic", "aleatoric")]
        on = any(kinds) and config.get(f"{section}.n_it", 0) != 0
        for key in ("epistemic", "aleatoric", "n_it"):
            yield leave_out(f"{section}.{key}", reason if on else OFF)
