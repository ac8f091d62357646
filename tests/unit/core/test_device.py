"""Selection of device, precision and memory format."""

from __future__ import annotations

import re

import pytest
import torch

from softseg.core.device import (
    autocast,
    available_devices,
    free_bytes,
    inference_precision,
    memory_format,
    resolve_memory_format,
    resolve_precision,
    select_device,
    synchronize,
    to_device,
)
from softseg.core.errors import UserError
from softseg.models.predictor import Predictor
from softseg.training.loop import fit
from tests.support.tiny import Watcher, tiny_state, tiny_task


@pytest.fixture
def machine(monkeypatch):
    """Return a function that fakes a machine with `cuda` CUDA devices, and with or without MPS."""

    def of(cuda, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return of


@pytest.mark.parametrize(
    ("cuda", "mps", "devices"),
    [
        (0, False, ["cpu"]),
        (2, False, ["cuda:0", "cuda:1", "cpu"]),
        (0, True, ["mps", "cpu"]),
    ],
)
def test_auto_selects_the_best_device(machine, cuda, mps, devices):
    machine(cuda, mps)
    assert available_devices() == devices
    assert select_device("auto") == torch.device(devices[0])
    assert select_device("cpu") == torch.device("cpu")


def test_a_gpu_is_selected_with_or_without_its_number(machine):
    machine(2)
    assert select_device("cuda:1") == torch.device("cuda:1")
    assert select_device("cuda") == torch.device("cuda:0")  # as the device of a tensor there


@pytest.mark.parametrize(
    ("cuda", "name", "devices"),
    [
        (0, "cuda", "cpu"),
        (0, "cuda:0", "cpu"),
        (0, "mps", "cpu"),
        (2, "cuda:2", "cuda:0, cuda:1, cpu"),
        (2, "mps", "cuda:0, cuda:1, cpu"),
        (1, "tpu", "cuda:0, cpu"),
    ],
)
def test_a_missing_device_is_rejected_with_a_list_of_the_available_ones(
    machine, cuda, name, devices
):
    machine(cuda)
    expected = f"device `{name}` is not on this machine; its devices: {devices}. Choose one"
    with pytest.raises(UserError, match=f"^{re.escape(expected)}"):
        select_device(name)


def test_layers_compute_in_bfloat16_only_inside_autocast():
    cpu = torch.device("cpu")
    layer, x = torch.nn.Linear(4, 4), torch.rand(2, 4)
    with autocast(cpu, "float32"):
        assert layer(x).dtype == torch.float32
    with autocast(cpu, "bf16"):
        assert layer(x).dtype == torch.bfloat16
    assert layer(x).dtype == torch.float32


def test_synchronize_accepts_the_cpu():
    synchronize(torch.device("cpu"))


@pytest.mark.parametrize(
    ("device", "precision", "chosen"),
    [
        ("cpu", "float32", "channels_last"),
        ("cuda", "bf16", "channels_last"),
        ("cuda", "float32", "contiguous"),
        ("mps", "float32", "contiguous"),
    ],
)
def test_auto_memory_format_is_channels_last_where_it_is_faster(device, precision, chosen):
    assert resolve_memory_format("auto", torch.device(device), precision) == chosen
    assert resolve_memory_format("contiguous", torch.device(device), precision) == "contiguous"


@pytest.mark.parametrize(
    ("device", "capability", "chosen"),
    [("cuda", (8, 0), "bf16"), ("cuda", (7, 5), "float32"), ("mps", None, "float32")],
)
def test_auto_precision_is_bfloat16_on_capable_gpus(monkeypatch, device, capability, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", torch.device(device)) == chosen
    assert resolve_precision("float32", torch.device(device)) == "float32"
    assert resolve_precision("bf16", torch.device(device)) == "bf16"


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ({"amx_bf16": True}, "bf16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "bf16"),
        ({"amx_bf16": False, "avx512_f": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_precision_is_bfloat16_on_cpus_that_multiply_in_it(monkeypatch, capabilities, chosen):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", torch.device("cpu")) == chosen
    assert inference_precision("auto", torch.device("cpu")) == chosen


@pytest.mark.parametrize(
    ("device", "capability"), [("cuda:1", (7, 5)), ("mps", None), ("cpu", None)]
)
def test_tf32_is_rejected_in_training_and_float32_in_inference_where_it_does_not_exist(
    monkeypatch, device, capability
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    message = (
        "trainer.precision: tf32 needs an NVIDIA GPU from Ampere on, and the device is "
        f"{device}; use float32, or auto (bf16 on a device that multiplies in it)"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        resolve_precision("tf32", torch.device(device))
    assert inference_precision("tf32", torch.device(device)) == "float32"
    assert inference_precision("bf16", torch.device(device)) == "bf16"


def test_tf32_exists_on_capable_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert resolve_precision("tf32", torch.device("cuda")) == "tf32"
    assert inference_precision("tf32", torch.device("cuda")) == "tf32"


def torch_settings():
    """Read what torch may do, with its old and new settings; it raises an error if they differ."""
    backends = torch.backends
    return {
        "convolutions": backends.cudnn.conv.fp32_precision,
        "convolutions (old)": backends.cudnn.allow_tf32,
        "products (old)": backends.cuda.matmul.allow_tf32,
        "products": torch.get_float32_matmul_precision(),
    }


@pytest.fixture
def cuda(monkeypatch):
    """A CUDA device, whose settings are restored after the test."""
    before = torch.backends.cudnn.conv.fp32_precision
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield torch.device("cuda")
    torch.backends.cudnn.conv.fp32_precision = before


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_only_tf32_allows_convolutions_in_it_and_nothing_else(cuda):
    for precision in ("tf32", "float32", "tf32", "bf16"):
        with autocast(cuda, precision):
            settings = torch_settings()
        assert settings == torch_settings()  # the backward pass is outside
        assert settings["convolutions"] == ("tf32" if precision == "tf32" else "ieee")
        assert settings["convolutions (old)"] == (precision == "tf32")
        assert not settings["products (old)"]
        assert settings["products"] == "highest"


def test_float32_is_exact_where_the_calling_program_chose_tf32_for_everything(cuda, monkeypatch):
    monkeypatch.setattr(torch.backends, "fp32_precision", "tf32")
    with autocast(cuda, "float32"):
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"


def test_a_cpu_leaves_the_settings_of_gpus_as_they_are(cuda):
    before = torch_settings()
    with autocast(torch.device("cpu"), "float32"):
        assert torch_settings() == before


@pytest.mark.parametrize("head", ["sigmoid", "normrelu"])
def test_bfloat16_changes_soft_values_by_less_than_two_percent(head):
    task = tiny_task(max_epochs=8, learning_rate=0.01)
    state = tiny_state(task, {"name": head, "bias": 0.5})
    fit(state, task, Watcher())
    image = task.stack.image[:4]
    soft, coarse = (
        Predictor(state.model, state.head, task.device, how)(image) for how in ("float32", "bf16")
    )
    assert 0.5 < soft.max() <= 1
    assert 0 < (soft - coarse).abs().max() < 0.02


def test_free_memory_of_the_cpu_is_plausible():
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50


@pytest.mark.parametrize(("device", "waits"), [("cuda", False), ("mps", True)])
def test_a_copy_waits_only_where_it_would_read_freed_memory(device, waits):
    class Tensor:
        def to(self, name, non_blocking):
            assert name == torch.device(device)
            return non_blocking

    assert to_device(Tensor(), torch.device(device)) is not waits


def test_a_large_copy_to_cuda_comes_from_pinned_memory():
    class Tensor:
        def pin_memory(self):
            return Pinned()

        def to(self, name, non_blocking):
            return "from pageable memory"

    class Pinned:
        def to(self, name, non_blocking):
            return "from pinned memory"

    assert to_device(Tensor(), torch.device("cuda"), pin=True) == "from pinned memory"
    for device, pin in (("cuda", False), ("mps", True), ("cpu", True)):
        assert to_device(Tensor(), torch.device(device), pin=pin) == "from pageable memory"


def test_channels_last_is_that_of_the_number_of_axes():
    assert memory_format("channels_last", 2) is torch.channels_last
    assert memory_format("channels_last", 3) is torch.channels_last_3d
    assert memory_format("contiguous", 3) is memory_format("auto", 2) is torch.contiguous_format
