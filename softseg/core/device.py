"""Device, precision and memory format of a computation."""

from __future__ import annotations

import copy
import logging
import platform
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.profiler import record_function

from softseg.core.errors import UserError
from softseg.core.memory import free_memory_bytes

T = TypeVar("T")
_log = logging.getLogger(__name__)
Precision = Literal["auto", "float32", "tf32", "bf16"]
_USABLE_SHARE = 0.8  # of a GPU's free memory; the rest is for workspaces and fragmentation
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}  # by spatial axes


def memory_format(name: str, axes: int) -> torch.memory_format:
    """Return torch's name of a `trainer.memory_format`, for so many spatial axes."""
    return _CHANNELS_LAST[axes] if name == "channels_last" else torch.contiguous_format


def select_device(name: str) -> torch.device:
    """Return the device that `auto` (CUDA, else MPS, else CPU), `cpu`, `cuda:1`, ... names.

    Raises UserError, listing the devices of this machine, for a device that it does not have.
    """
    available = available_devices()
    if name == "auto":
        return torch.device(available[0])
    indexed = "cuda:0" if name == "cuda" else name  # as the device of every tensor there
    if indexed not in available:
        devices = ", ".join(available)
        raise UserError(
            f"device `{name}` is not on this machine; its devices: {devices}. Choose one with "
            "--device or trainer.device"
        )
    return torch.device(indexed)


def available_devices() -> list[str]:
    """Return the devices of this machine, best first."""
    cuda = (
        [f"cuda:{n}" for n in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def has_room(device: torch.device, n_bytes: int) -> bool:
    """Whether `n_bytes`, of slices and of what training needs, fit on a device."""
    if device.type != "cuda":
        return True  # on the CPU the slices are already in memory, which MPS shares
    return n_bytes <= _USABLE_SHARE * free_bytes(device)


def free_bytes(device: torch.device) -> int:
    """Return about how much memory is free on a device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory_bytes()


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Replace `auto` by bf16 on devices that multiply in it, else by float32.

    Such devices are NVIDIA GPUs from Ampere on and CPUs with AMX or AVX512-bf16; elsewhere bf16 is
    emulated, and slower than float32. The soft values of a trained network differ by at most 0.02
    between the two (tests/unit/core/test_device.py).

    Raises UserError for tf32 on a device that does not have it.
    """
    if precision == "tf32" and not _is_ampere(device):
        raise UserError(
            f"trainer.precision: tf32 needs an NVIDIA GPU from Ampere on, and the device is "
            f"{device}; use float32, or auto (bf16 on a device that multiplies in it)"
        )
    if precision != "auto":
        return precision
    return "bf16" if _multiplies_in_bf16(device) else "float32"


def inference_precision(precision: Precision, device: torch.device) -> Precision:
    """Resolve the precision of a trained network, which may be used on any device.

    As `resolve_precision`, except that tf32 is float32 on a device that does not have it: the
    weights are float32 in both, and only the products are more exact.
    """
    if precision == "tf32" and not _is_ampere(device):
        return "float32"
    return resolve_precision(precision, device)


def _is_ampere(device: torch.device) -> bool:
    """Whether a device is a GPU of compute capability 8.0 or more, with bf16 and TF32."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _multiplies_in_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for products in bf16."""
    if device.type != "cpu":
        return _is_ampere(device)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))


@cache
def warn_of_emulated_precision(precision: Precision, device: torch.device) -> None:
    """Warn once of bf16, requested by name, on a device that is known to emulate it."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")  # of others, torch reports nothing
    known = device.type == "cuda" or (device.type == "cpu" and is_x86)
    if precision == "bf16" and known and not _multiplies_in_bf16(device):
        _log.warning(
            "trainer.precision bf16 is emulated on %s, which has no instructions for it, and is "
            "several times slower than float32; use float32, or auto",
            device,
        )


def resolve_memory_format(name: str, device: torch.device, precision: Precision) -> str:
    """Replace `auto` by channels_last where it makes convolutions faster, else by contiguous."""
    if name != "auto":
        return name
    faster = device.type == "cpu" or (device.type == "cuda" and precision == "bf16")
    return "channels_last" if faster else "contiguous"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return a context for a network's forward pass, in bfloat16 if `precision` is bf16.

    Head and loss stay outside of it, in float32. On a CUDA GPU this also sets whether cuDNN may
    compute convolutions in TF32, in this pass and in the backward pass after it.
    """
    if device.type == "cuda":
        # torch's old and new settings, as it reads both and raises an error if they disagree; ieee
        # is exact float32 even where the calling program has chosen TF32 for everything
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
        convolutions.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def to_device(tensor: Tensor, device: torch.device, *, pin: bool = False) -> Tensor:
    """Copy a tensor to a device without waiting for the work that is queued there.

    With `pin` it is first copied to pinned memory, without which CUDA waits for large copies.
    On an Apple GPU the copy waits: it would read the host's memory later, when that may belong to
    another tensor (pytorch/pytorch#189690).
    """
    if pin and device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type != "mps")


def copy_to_host(values: T) -> T:
    """Return nested dicts and lists with a copy of every tensor on the CPU.

    Copies from a CUDA device are queued together, into pinned memory, which torch reuses; this
    waits for them once.
    """
    devices: set[torch.device] = set()
    copied: T = _copied(values, devices)
    for device in devices:
        synchronize(device)
    return copied


def _copied(values: Any, devices: set[torch.device]) -> Any:
    """Queue the copies of `copy_to_host`; add the devices to wait for to `devices`."""
    if isinstance(values, Tensor):
        pinned = values.device.type == "cuda"
        if pinned:
            devices.add(values.device)
        target = torch.empty_like(values, device="cpu", pin_memory=pinned)
        return target.copy_(values, non_blocking=pinned)
    if isinstance(values, dict):
        result = copy.copy(values)  # a state dict has attributes besides its items
        result.update({name: _copied(value, devices) for name, value in values.items()})
        return result
    if isinstance(values, list | tuple):
        return type(values)(_copied(value, devices) for value in values)
    return values


def phase(name: str) -> record_function:
    """Name a part of a training step in a profile; costs next to nothing when none is recorded."""
    return record_function(f"softseg: {name}")
