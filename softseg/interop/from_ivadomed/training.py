"""`training_parameters` without its loss -> `trainer`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from softseg.interop.from_ivadomed.outcomes import (
    OFF,
    Fact,
    also,
    carry,
    fixed,
    leave,
    leave_unless_off,
    warn,
)
from softseg.interop.from_ivadomed.read import Source

_T = "training_parameters"
_SCHEDULER = f"{_T}.scheduler.lr_scheduler"
_STOP = ("trainer", "early_stopping")
_BALANCED = ("trainer", "oversample_foreground")
_NEAREST = {"CosineAnnealingWarmRestarts": "cosine", "CyclicLR": "constant"}
_BY_MASK = "slices are balanced by their masks only"
_PATIENCE = "ivadomed compared each epoch with the one before and never counted anew: it stopped \
after so many bad epochs in all; the YAML stops after so many in a row without a new best"
_PRETRAINED = "network files of ivadomed are not read: training starts afresh, or from a run or a \
package of softseg (init_from)"


def convert_training(source: Source) -> Iterator[Fact]:
    """`trainer`: batches, epochs, learning rate, early stopping, balance of slices."""
    batch, rate = f"{_T}.batch_size", f"{_T}.scheduler.initial_lr"
    yield carry(source, batch, ("trainer", "batch_size"), source.number(batch, 18))
    yield from _time(source)
    yield carry(source, rate, ("trainer", "learning_rate"), source.number(rate, 0.001))
    yield from _schedule(source)
    yield from _balance(source)
    yield leave_unless_off(source, f"{_T}.mixup_alpha", "samples are not mixed")
    model = f"{_T}.transfer_learning.retrain_model"
    yield leave_unless_off(source, model, _PRETRAINED)
    for key in ("retrain_fraction", "reset"):
        yield leave(f"{_T}.transfer_learning.{key}", _PRETRAINED if source.get(model) else OFF)


def _time(source: Source) -> Iterator[Fact]:
    time = f"{_T}.training_time"
    epochs = source.number(f"{time}.num_epochs", 100)
    yield carry(source, f"{time}.num_epochs", ("trainer", "max_epochs"), epochs)
    patience = source.number(f"{time}.early_stopping_patience", 50)
    yield carry(source, f"{time}.early_stopping_patience", (*_STOP, "patience"), patience)
    key = f"{time}.early_stopping_epsilon"
    share = float(Decimal(str(source.number(key, 0.001))) / 100)
    yield carry(source, key, (*_STOP, "epsilon"), share, "percent there, a share here")
    yield warn(f"{time}.early_stopping_patience", _PATIENCE)


def _schedule(source: Source) -> Iterator[Fact]:
    """Only CyclicLR reads rates, and only the warm restarts T_0 and T_mult."""
    name = source.text(f"{_SCHEDULER}.name", "CosineAnnealingLR")
    ours = _NEAREST.get(name, "cosine")
    yield carry(source, f"{_SCHEDULER}.name", ("trainer", "schedule", "name"), ours)
    if name in _NEAREST:
        yield leave(f"{_SCHEDULER}.name", f"there is no {name}; {ours} is the nearest")
    elif name != "CosineAnnealingLR":
        raise source.wrong(f"{_SCHEDULER}.name", "must be a scheduler of ivadomed", name)
    reads = {"CyclicLR": ("base_lr", "max_lr"), "CosineAnnealingWarmRestarts": ("T_0", "T_mult")}
    for key in ("base_lr", "max_lr", "T_0", "T_mult"):
        if key in reads.get(name, ()):
            yield leave(f"{_SCHEDULER}.{key}", f"there is no {name}")
        else:
            yield warn(f"{_SCHEDULER}.{key}", f"{name} does not read it: ivadomed ignored it")


def _balance(source: Source) -> Iterator[Fact]:
    """true or false in ivadomed 2.2, a mapping in 2.9."""
    key = f"{_T}.balance_samples"
    given = source.get(key)
    switch = f"{key}.applied" if isinstance(given, dict) else key
    applied, kind = source.flag(switch, False), "gt"
    if isinstance(given, dict):
        kind = source.text(f"{key}.type", "gt")
        if not applied or kind != "gt":
            yield leave(f"{key}.type", _BY_MASK if applied else OFF)
    if applied and kind == "gt":
        note = "ivadomed balanced the validation slices too"
        yield carry(source, switch, _BALANCED, 0.5, note)
        yield also(f"{key}.type", _BALANCED)
    else:
        yield leave_unless_off(source, switch, _BY_MASK)


_FOLDER = "a run's folder is runs/<name>, or `softseg train --out`"
_GPU = "the machine's business: trainer.device is auto, or `softseg train --device cuda:0`"
_LOGGING = "runs write TensorBoard files and history.csv only"
_LEFT = {
    "command": "a YAML has none: `softseg train`, `softseg eval`, `softseg predict`",
    "path_output": _FOLDER,
    "log_directory": _FOLDER,
    "log_file": _FOLDER,
    "debugging": "there is no such mode: a run always writes what went on",
    "gpu": _GPU,
    "gpu_ids": _GPU,
    "wandb.wandb_api_key": f"{_LOGGING}; it is a secret and is not copied",
    "wandb.project_name": _LOGGING,
    "wandb.group_name": _LOGGING,
    "wandb.run_name": _LOGGING,
    "wandb.log_grads_every": _LOGGING,
    # what ivadomed writes into the config_file.json of its output
    "split_path": "ivadomed's note of its own; a run has split.json",
    "training_sha256.*": "ivadomed's note of its own; a run has fingerprints in run.json",
    "version_info.*": "ivadomed's note of its own; a run has versions in run.json",
}
_DETECTION = "no detection of a bounding box by another model; preprocess.crop around: roi is near"


def convert_general(source: Source) -> Iterator[Fact]:
    """`name`, `seed`, and the keys that no YAML of an experiment has."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", source.text("model_name", "my_model")).lstrip("._-")
    yield carry(source, "model_name", ("name",), name or "my_model")
    yield fixed(("seed",), 0, "ivadomed seeded its split only")
    for key, why in _LEFT.items():
        yield leave(key, why)
    detection = "object_detection_params.object_detection_path"
    yield leave_unless_off(source, detection, _DETECTION)
    factor = "object_detection_params.safety_factor"
    yield (
        leave(factor, _DETECTION)
        if source.get(detection)
        else leave_unless_off(source, factor, _DETECTION, off=[source.get(factor)])
    )
    for name in ("gpu_ids", "path_output"):  # ivadomed fills these in there by itself
        yield leave(f"object_detection_params.{name}", "ivadomed's note of its own")
    if source.version == "2.9":
        for key in ("gpu", "log_directory"):
            yield warn(key, "ivadomed 2.9 does not read it and ignored it")
    else:
        yield warn("gpu", "ivadomed 2.9 ignores it (there it is gpu_ids)")


_WHY = "no key of a YAML: uncertainty is asked for when predicting"


def convert_uncertainty(source: Source) -> Iterator[Fact]:
    """Its keys, at the top in ivadomed 2.9 and below `testing_parameters` in 2.2."""
    for section in ("uncertainty", "testing_parameters.uncertainty"):
        kinds = [source.get(f"{section}.{kind}") for kind in ("epistemic", "aleatoric")]
        on = any(kinds) and source.get(f"{section}.n_it", 0) != 0
        for key in ("epistemic", "aleatoric", "n_it"):
            yield leave(f"{section}.{key}", _WHY if on else OFF)
