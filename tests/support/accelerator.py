"""An accelerator in software, with the rules of a real one, to test code for GPUs without one.

The device is called `gpu`. A tensor on it wraps a tensor on the CPU, which computes, so that
results can be compared with the CPU's. What a real device rejects raises here too: tensors of two
devices in one operation, and what Apple GPUs do not have: float64, and use by two threads. What
makes the host of a real device wait is recorded in a `Log`, and so are the operations that it would
have to launch.

PyTorch takes one such device in a process and keeps it to the end. Therefore only the tests of
tests/emulated, which have a process of their own, may call `register`.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.optim import optimizer
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

import softseg
from softseg.core import device

NAME = "gpu"
_PACKAGE = str(Path(softseg.__file__).parent)
_aten = torch.ops.aten
_CAST, _COPY = _aten._to_copy.default, _aten.copy_.default
_INDEXING = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)
_JOINING = (_aten.cat.default, _aten.stack.default)
_READING = (  # operations with a result, or a size of it, that the host has to know
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten._unique2.default,
    _aten.repeat_interleave.Tensor,
)
_NOT_LAUNCHED = (  # in addition to views
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    "_unsafe_view",
)


@dataclass(frozen=True)
class Transfer:
    """A copy between host and device, or a value of the device that the host reads."""

    what: str
    shape: tuple[int, ...]
    waits: bool  # whether the host waits until the device has done all earlier work
    where: str  # file:line of softseg that asked for it

    def __str__(self):
        return f"{self.what} of {self.shape} at {self.where}"


@dataclass
class Log:
    """What the device did in a `recorded` context."""

    reads: list[Transfer] = field(default_factory=list)
    uploads: list[Transfer] = field(default_factory=list)
    launched: Counter[str] = field(default_factory=Counter)  # operation -> times; no views

    @property
    def waits(self) -> list[str]:
        transfers = [*self.reads, *self.uploads]
        return [str(transfer) for transfer in transfers if transfer.waits]

    @property
    def casts(self) -> int:
        """Conversions between types; `operations` are all others."""
        return self.launched[str(_CAST)]

    @property
    def operations(self) -> int:
        return self.launched.total() - self.casts

    def take(self) -> Log:
        """Return what was recorded so far, and begin anew."""
        taken = Log(self.reads, self.uploads, self.launched)
        self.reads, self.uploads, self.launched = [], [], Counter()
        return taken


_logs: list[Log] = []


@contextmanager
def recorded() -> Iterator[Log]:
    """Record what the device does within the context."""
    log = Log()
    _logs.append(log)
    try:
        yield log
    finally:
        _logs.remove(log)


class DeviceTensor(torch.Tensor):
    """A tensor on the device; `on_host` are its values."""

    @staticmethod
    def __new__(cls, values):
        if values.dtype == torch.float64:
            raise TypeError(f"float64 at {_where()}: Apple GPUs have no float64")
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
        )
        tensor.on_host = values
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        _check_thread(function)
        _check_devices(function, args, kwargs)
        _record(function, args, kwargs)
        host = {"device": torch.device("cpu")} if kwargs.get("device") else {}
        result = function(*_unwrapped(args), **{**_unwrapped(kwargs), **host})
        if _target(function, args, kwargs).type != NAME:
            return args[0] if function is _COPY else result
        wrapped = tree_map_only(torch.Tensor, cls, result)
        return return_and_correct_aliasing(function, args, kwargs, wrapped)

    def tolist(self):
        return self.cpu().tolist()  # torch has it for no subclass

    def __repr__(self):
        return f"DeviceTensor({self.on_host!r})"


def _unwrapped(values):
    return tree_map_only(DeviceTensor, lambda tensor: tensor.on_host, values)


def _target(function, args, kwargs):
    """The device on which the result of a call is."""
    if function is _COPY:
        return args[0].device
    return kwargs.get("device") or torch.device(NAME)


def _check_thread(function):
    """Raise RuntimeError for a thread of softseg's; those of autograd belong to the device."""
    thread = threading.current_thread()
    if thread is not threading.main_thread() and not isinstance(thread, threading._DummyThread):
        raise RuntimeError(f"{function} at {_where()} in a second thread ends a process on MPS")


def _check_devices(function, args, kwargs):
    """Raise RuntimeError for tensors on the host, but for those that CUDA takes from there too.

    These are copies, indices, and single numbers.
    """
    if function in (_CAST, _COPY):
        return
    given = (args[0], args[2:]) if function in _INDEXING else (args, kwargs)
    for tensor in tree_leaves(given):
        if not isinstance(tensor, torch.Tensor) or isinstance(tensor, DeviceTensor):
            continue
        if tensor.ndim or function in _JOINING:
            raise RuntimeError(
                f"expected all tensors on one device: {function} at {_where()} was given one of "
                f"{tuple(tensor.shape)} on the {tensor.device}"
            )


def _record(function, args, kwargs):
    """Add a call to the logs."""
    for log in _logs:
        if function in (_CAST, _COPY):
            _record_copy(log, function, args, kwargs)
        elif function in _READING:
            log.reads.append(_transfer(str(function), args[0], waits=True))
        elif function in _INDEXING:
            for index in tree_leaves(args[1]):
                _record_index(log, index)
        if not function.is_view and function._schema.name.split("::")[1] not in _NOT_LAUNCHED:
            log.launched[str(function)] += 1


def _record_copy(log, function, args, kwargs):
    source = args[1] if function is _COPY else args[0]
    non_blocking = kwargs.get("non_blocking") or (function is _COPY and args[2:] == (True,))
    target = _target(function, args, kwargs) if kwargs.get("device") else args[0].device
    if source.device.type == NAME != target.type:
        log.reads.append(_transfer("copy to the host", source, waits=True))
    if source.device.type != NAME == target.type:
        log.uploads.append(_transfer("copy to the device", source, waits=not non_blocking))


def _record_index(log, index):
    if index is not None and index.dtype in (torch.bool, torch.uint8):
        log.reads.append(_transfer("boolean index", index, waits=True))
    if index is not None and not isinstance(index, DeviceTensor):
        log.uploads.append(_transfer("index on the host", index, waits=True))


def _transfer(what, tensor, waits):
    return Transfer(what, tuple(tensor.shape), waits, _where())


def _where():
    """The line of softseg that is running, but for those of core/device.py, which many call."""
    frame = sys._getframe()
    while frame and not _names(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else "the test"


def _names(file):
    return file.startswith(_PACKAGE) and file != device.__file__


class _Module(backend_registration._DummyBackendModule):
    """What torch looks for in `torch.gpu`."""

    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


_operators, _every_operator = (torch.library.Library(name, "IMPL") for name in ("aten", "_"))


@functools.cache
def register() -> torch.device:
    """Make `gpu` a device of this process, and return it."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    for name, function in (
        ("empty.memory_format", _empty),
        ("empty_strided", _empty_strided),
        ("_copy_from", _copy_from),
    ):
        _operators.impl(name, function, "PrivateUse1")
    _every_operator.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _operators.impl("conv2d", _autocast_convolution, "AutocastPrivateUse1")
    optimizer._foreach_supported_types.append(DeviceTensor)  # as Adam does on CUDA
    return torch.device(NAME)


def _empty(size, *, memory_format=None, dtype=None, layout=None, device=None, pin_memory=None):
    memory_format = memory_format or torch.contiguous_format
    return DeviceTensor(torch.empty(size, dtype=dtype, memory_format=memory_format))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return DeviceTensor(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source, target, non_blocking=False):
    """The copy within `torch.tensor(..., device=)`, which calls no `__torch_dispatch__`."""
    _record(_COPY, (target, source, non_blocking), {})
    _unwrapped(target).copy_(_unwrapped(source))
    return target


def _autocast_convolution(image, weight, bias=None, *options):
    """A convolution under autocast, in bfloat16 as on CUDA; nothing else in the network is cast."""
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
    with torch._C._ExcludeDispatchKeyGuard(key):
        low = [t if t is None else t.to(torch.bfloat16) for t in (image, weight, bias)]
        return _aten.conv2d(*low, *options)
