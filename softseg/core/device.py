"""Where and how precisely to compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from softseg.core.errors import UserError
from softseg.core.memory import free_memory_bytes

Precision = Literal["auto", "float32", "bf16"]
_SHARE = 0.6  # of a GPU's free memory that slices may take
FORMATS = {
    "auto": torch.contiguous_format,
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
"""trainer.memory_format -> torch's name of it."""


def pick(name: str) -> torch.device:
    """`auto` (CUDA, else MPS, else CPU), `cpu`, `cuda`, `cuda:1` or `mps` -> that device.

    Raises UserError naming the devices of this machine.
    """
    there = available()
    if name == "auto":
        return torch.device(there[0])
    kinds = {one.split(":")[0] for one in there}  # `cuda` alone is the first GPU
    if name not in there and name not in kinds:
        raise UserError(f"device `{name}` is not on this machine; there are: {', '.join(there)}")
    return torch.device(name)


def available() -> list[str]:
    """The devices of this machine, best first."""
    cuda = (
        [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def has_room(device: torch.device, n_bytes: int) -> bool:
    """Whether a stack of slices can lie on a device and leave it memory to train with."""
    if device.type != "cuda":
        return True  # the CPU's is the stack's own; MPS shares it
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= _SHARE * free


def free_bytes(device: torch.device) -> int:
    """Return about how much memory is free on a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory_bytes()


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: numpy's, a GPU's, or the CPU's, of which torch has no own error."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def precision(wanted: Precision, device: torch.device) -> Precision:
    """`auto` -> bf16 where the device multiplies in it (a GPU from Ampere on, a CPU with AMX).

    Elsewhere bf16 is emulated, and slower than float32. Trained networks' soft values differ by
    0.02 at most between the two (tests/test_device.py).
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bf16" if native else "float32"


def memory_format(wanted: str, device: torch.device, precision: Precision) -> str:
    """`auto` -> channels_last where convolutions are faster so (README, Performance)."""
    if wanted != "auto":
        return wanted
    faster = device.type == "cpu" or (device.type == "cuda" and precision == "bf16")
    return "channels_last" if faster else "contiguous"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The network's forward in bfloat16, or nothing; head and loss stay outside, in float32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given; only for timing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
