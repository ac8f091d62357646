"""Device, precision and memory format of a computation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor
from torch.profiler import record_function

from softseg.core.errors import UserError
from softseg.core.memory import free_memory_bytes

Precision = Literal["auto", "float32", "bf16"]
_STACK_SHARE = 0.6  # of a GPU's free memory that slices may take
MEMORY_FORMATS = {
    "auto": torch.contiguous_format,
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
"""trainer.memory_format -> torch's name of it."""


def select_device(name: str) -> torch.device:
    """Return the device that `auto` (CUDA, else MPS, else CPU), `cpu`, `cuda:1`, ... names.

    Raises UserError, listing the devices of this machine, for a device that it does not have.
    """
    available = available_devices()
    if name == "auto":
        return torch.device(available[0])
    kinds = {device.split(":")[0] for device in available}  # `cuda` alone is the first GPU
    if name not in available and name not in kinds:
        devices = ", ".join(available)
        raise UserError(f"device `{name}` is not on this machine; its devices: {devices}")
    return torch.device(name)


def available_devices() -> list[str]:
    """Return the devices of this machine, best first."""
    cuda = (
        [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def has_room(device: torch.device, n_bytes: int) -> bool:
    """Whether a stack of `n_bytes` fits on a device and leaves enough memory to train with."""
    if device.type != "cuda":
        return True  # on the CPU the stack is already in memory, which MPS shares
    return n_bytes <= _STACK_SHARE * free_bytes(device)


def free_bytes(device: torch.device) -> int:
    """Return about how much memory is free on a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory_bytes()


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Replace `auto` by bf16 on devices that multiply in it, else by float32.

    Such devices are GPUs from Ampere on and CPUs with AMX; elsewhere bf16 is emulated, and slower
    than float32. The soft values of a trained network differ by at most 0.02 between the two
    (tests/unit/core/test_device.py).
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bf16" if native else "float32"


def resolve_memory_format(name: str, device: torch.device, precision: Precision) -> str:
    """Replace `auto` by channels_last where it makes convolutions faster, else by contiguous."""
    if name != "auto":
        return name
    faster = device.type == "cpu" or (device.type == "cuda" and precision == "bf16")
    return "channels_last" if faster else "contiguous"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return a context for a network's forward pass, in bfloat16 if `precision` is bf16.

    Head and loss stay outside of it, in float32.
    """
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work; only for timing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for the work that is queued there.

    On an Apple GPU the copy waits: it would read the host's memory later, when that may belong to
    another tensor (pytorch/pytorch#189690).
    """
    return tensor.to(device, non_blocking=device.type != "mps")


def phase(name: str) -> record_function:
    """Name a part of a training step in a profile; costs next to nothing when none is recorded."""
    return record_function(f"softseg: {name}")
