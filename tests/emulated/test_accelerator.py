"""The emulated accelerator rejects and records what a real one rejects and waits for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional as F

from softseg.training import loop
from tests.emulated.epochs import Setup, check
from tests.support.accelerator import recorded

NOT_DEAD = torch.zeros(1, dtype=torch.bool)


def on_device(*shape):
    return torch.ones(shape, device="gpu")


@pytest.mark.parametrize("name", ["gpu", "gpu:0"])
def test_tensors_are_on_the_first_device_and_compute_there(name):
    values = torch.tensor([1.0, 2.0], device=name)
    assert values.device == torch.device("gpu:0")
    assert (values + 1).tolist() == [2, 3]
    assert values.to(name) is values


@pytest.mark.parametrize(
    "mixed",
    [
        lambda tensor: tensor + torch.ones(3),
        lambda tensor: torch.cat([tensor, torch.ones(3)]),
        lambda tensor: torch.stack([tensor.sum(), torch.tensor(1.0)]),
        lambda tensor: torch.ones(3)[tensor.long()],
        lambda tensor: F.conv1d(tensor.view(1, 1, 3), torch.ones(1, 1, 1)),
    ],
    ids=["sum", "cat", "stack", "index", "convolution"],
)
def test_devices_do_not_mix(mixed):
    with pytest.raises((RuntimeError, TypeError)):
        mixed(on_device(3))


def test_a_single_number_and_indices_may_come_from_the_host():
    with recorded() as log:
        assert (on_device(3) * torch.tensor(2.0)).sum().tolist() == 6
        assert log.waits == ["copy to the host of () at the test"]
        log.take()
        assert on_device(3)[torch.tensor([0, 2])].shape == (2,)
        assert log.waits == ["index on the host of (2,) at the test"]


@pytest.mark.parametrize(
    "read",
    [
        lambda tensor: tensor.sum().item(),
        lambda tensor: bool((tensor > 0).all()),
        lambda tensor: tensor.cpu(),
        lambda tensor: torch.zeros(3).copy_(tensor),
        lambda tensor: tensor.nonzero(),
        lambda tensor: tensor[tensor > 0],
        lambda tensor: torch.masked_select(tensor, tensor > 0),
        lambda tensor: tensor.unique(),
        lambda tensor: torch.equal(tensor, tensor + 0),
        lambda tensor: tensor.masked_fill_(tensor > 0, 0).tolist(),
    ],
)
def test_values_that_the_host_reads_are_recorded(read):
    with recorded() as log:
        read(on_device(3))
    assert len(log.reads) == 1
    assert len(log.waits) == 1


@pytest.mark.parametrize(("non_blocking", "waits"), [(False, 1), (True, 0)])
def test_copies_to_the_device_are_recorded(non_blocking, waits):
    target = on_device(3)
    with recorded() as log:
        torch.ones(3).to("gpu", non_blocking=non_blocking)
        target.copy_(torch.ones(3), non_blocking)
    assert len(log.uploads) == 2
    assert len(log.waits) == 2 * waits
    with recorded() as log:
        torch.tensor([1.0], device="gpu")
    assert len(log.waits) == 1


def test_there_is_no_float64_no_generator_and_no_second_thread():
    with pytest.raises(TypeError, match="float64"):
        on_device(3).double()
    with pytest.raises(NotImplementedError):
        torch.Generator("gpu")
    tensor = on_device(3)
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="second thread"):
        pool.submit(lambda: tensor + 1).result()


def test_views_and_allocations_are_not_launched():
    tensor = on_device(2, 3)
    with recorded() as log:
        tensor.view(6)[2:].unsqueeze(0)
        torch.empty_like(tensor)
        tensor.mul(2).add_(1).to(torch.bfloat16)
    assert (log.operations, log.casts) == (2, 1)


def test_reading_a_value_in_a_step_fails_the_checks_of_training(monkeypatch):
    train_step = loop.train_step

    def reading(*arguments):
        loss, output = train_step(*arguments)
        loss.item()
        return loss, output

    monkeypatch.setattr(loop, "train_step", reading)
    with pytest.raises(AssertionError, match="local_scalar_dense"):
        check(Setup())


def test_a_tensor_on_the_host_fails_the_checks_of_training(monkeypatch):
    is_dead = loop.is_dead
    monkeypatch.setattr(loop, "is_dead", lambda output: is_dead(output) | NOT_DEAD)
    with pytest.raises(RuntimeError, match="one device"):
        check(Setup())
