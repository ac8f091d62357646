"""Results differ by rounding only between numbers of threads, memory formats and devices.

For bfloat16 see tests/unit/core/test_device.py, for identical bits test_determinism.py.
"""

from __future__ import annotations

import pytest
import torch

from softseg.core.device import memory_format
from softseg.models.predictor import Predictor
from softseg.training.loop import fit
from tests.support.project import IN_2D_AND_3D
from tests.support.tiny import Watcher, tiny_state, tiny_task
from tests.support.tiny_volumes import volume_state, volume_task


def trained(device="cpu", threads=1, axes=2, **trainer):
    """Train a tiny network; return its state, task and losses."""
    task_of, state_of = {2: (tiny_task, tiny_state), 3: (volume_task, volume_state)}[axes]
    epochs = {2: 8, 3: 2}[axes]  # a step of volumes takes longer
    task = task_of(device=device, max_epochs=epochs, learning_rate=0.01, **trainer)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        state = state_of(task, head={"name": "normrelu", "bias": 0.5}, dropout=0.2)
        layout = memory_format(trainer.get("memory_format", "contiguous"), axes)
        state.model.to(memory_format=layout)
        watcher = Watcher()
        fit(state, task, watcher)
    finally:
        torch.set_num_threads(before)
    return state, task, torch.tensor([record["train_loss"] for record in watcher.records])


def soft(state, task, device="cpu"):
    """Return the soft values of the tiny slices, or of a volume, (S, K, *spatial), in [0, 1]."""
    model, head = state.model.to(device), state.head.to(device)
    samples = task.stack.part("image", task.stack.volumes[2]) if task.patches else task.stack.image
    return Predictor(model, head, torch.device(device), "float32")(samples).cpu()


@IN_2D_AND_3D
def test_two_threads_give_the_same_bits_each_time(axes):
    states = [trained(threads=2, axes=axes)[0] for _ in range(2)]
    first, second = (list(state.model.state_dict().values()) for state in states)
    assert all(map(torch.equal, first, second))


# Tolerances for float32 sums in another order: of the losses of a short training (relative) and
# of the soft values of one network (absolute)
LOSS, VALUE = 1e-3, 1e-4


@IN_2D_AND_3D
@pytest.mark.parametrize("change", [{"threads": 2}, {"memory_format": "channels_last"}], ids=str)
def test_threads_and_memory_format_change_rounding_only(axes, change):
    (state, task, losses), (_, _, others) = trained(axes=axes), trained(axes=axes, **change)
    torch.testing.assert_close(others, losses, rtol=LOSS, atol=0)
    contiguous = soft(state, task)
    state.model.to(memory_format=memory_format("channels_last", axes))
    torch.testing.assert_close(soft(state, task), contiguous, rtol=0, atol=VALUE)
    assert contiguous.max() > 0.2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_a_trained_networks_soft_values_to_one_in_ten_thousand():
    """In float32; training on a GPU draws other dropout masks, so only inference is compared."""
    state, task, _ = trained()
    torch.testing.assert_close(soft(state, task, "cuda"), soft(state, task), rtol=0, atol=VALUE)
