"""The hardware settings of a run: what was requested, what it became, and what another machine has.

config.yaml holds what `auto` (of threads: null) became when training started, so that it repeats
the run; run.json records what was requested. A run that is used on another machine or device keeps
what was requested by name, and what was left to the machine is resolved again.
"""

from __future__ import annotations

from typing import Any

from softseg.config.experiment import Experiment
from softseg.config.trainer import Trainer
from softseg.core.device import resolve_precision, select_device
from softseg.core.errors import UserError
from softseg.runs.folder import Run

HARDWARE = ("device", "precision", "memory_format", "threads")
HARDWARE_KEYS = tuple(f"trainer.{name}" for name in HARDWARE)
"""Keys of the trainer whose value the machine may choose, without and with their section."""


def is_automatic(setting: object) -> bool:
    """Whether a hardware setting is left to the machine."""
    return setting is None or setting == "auto"


def requested_hardware(
    run: Run, requested: Trainer, resolved: Trainer, resume: bool
) -> dict[str, Any]:
    """Return what run.json records as requested: the hardware settings before they are resolved.

    A resumed run keeps the request of each setting that has not changed.
    """
    metadata = run.metadata() if resume else {}
    return {name: getattr(requested, name) for name in HARDWARE} | {
        name: request
        for name, request in _requests(metadata).items()
        if metadata.get(name) == getattr(resolved, name)
    }


def keys_that_may_change(run: Run, trainer: Trainer) -> set[str]:
    """Return the hardware keys with which a run may be resumed on another device or machine.

    These are the device, what is or was left to the machine, and a precision of tf32, which few
    devices have.
    """
    metadata = run.metadata()
    requests = _requests(metadata)
    return {
        key
        for name, key in zip(HARDWARE, HARDWARE_KEYS, strict=True)
        if name == "device"
        or metadata.get(name) == "tf32"
        or is_automatic(getattr(trainer, name))
        or is_automatic(requests.get(name, "unknown"))
    }


def automatic_changes(metadata: dict[str, Any]) -> list[str]:
    """Return the `key=value` changes of config.yaml that undo what the training machine chose.

    Earlier versions did not record the requests; of their runs only the device is undone.
    """
    before_requests = {"device": "auto"} if "device" in metadata else {}
    return [
        f"trainer.{name}={'null' if name == 'threads' else 'auto'}"
        for name, request in (_requests(metadata) or before_requests).items()
        if is_automatic(request)
    ]


def with_recorded_hardware(experiment: Experiment, run: Run) -> Experiment:
    """Replace the experiment's automatic settings by those of the run, as far as they exist here.

    On another device, or if the recorded one is not on this machine, they stay automatic; so does
    the precision where this device does not multiply in bf16. Unchanged if the run has not started.
    """
    trainer, metadata = experiment.trainer, run.metadata()
    recorded = {
        name: metadata[name]
        for name in HARDWARE
        if isinstance(metadata.get(name), str | int) and is_automatic(getattr(trainer, name))
    }
    device = recorded.get("device", trainer.device)
    if not _is_here(device) or not _same_device(device, metadata.get("device")):
        recorded = {}
    elif recorded.get("precision") == "bf16" != resolve_precision("auto", select_device(device)):
        recorded = {name: recorded[name] for name in recorded.keys() & {"device", "threads"}}
    return experiment.model_copy(update={"trainer": trainer.model_copy(update=recorded)})


def _requests(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the hardware settings that run.json records as requested; none of earlier versions."""
    requested = metadata.get("requested")
    if not isinstance(requested, dict):
        return {}
    return {name: requested[name] for name in HARDWARE if name in requested}


def _same_device(name: str, other: object) -> bool:
    """Whether two names are of the same device, of which `cuda` is the first GPU."""
    return name == other or {name, other} == {"cuda", "cuda:0"}


def _is_here(device: str) -> bool:
    """Whether this machine has a device."""
    try:
        select_device(device)
    except UserError:
        return False
    return True
