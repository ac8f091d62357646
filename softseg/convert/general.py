"""What surrounds an experiment: its name, folders, machine and logging."""

from __future__ import annotations

import re
from collections.abc import Iterator

from softseg.convert.facts import Fact, carry, fixed, leave, leave_unless_off, warn
from softseg.convert.read import Source

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
