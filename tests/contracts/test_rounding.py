"""How far results may differ between numbers of threads, memory formats and devices: by rounding.

Of bfloat16 tests/unit/core/test_device.py tells; of the same bits, test_determinism.py.
"""

from __future__ import annotations

import pytest
import torch

from softseg.core.device import MEMORY_FORMATS
from softseg.models.predictor import Predictor
from softseg.training.loop import fit
from tests.support.tiny import Watcher, tiny_state, tiny_task


def learned(device="cpu", threads=1, **trainer):
    """A tiny network after training: its state, task and losses."""
    task = tiny_task(device=device, max_epochs=8, learning_rate=0.01, **trainer)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        state = tiny_state(task, {"name": "normrelu", "bias": 0.5}, dropout=0.2)
        state.model.to(memory_format=MEMORY_FORMATS[trainer.get("memory_format", "contiguous")])
        watcher = Watcher()
        fit(state, task, watcher)
    finally:
        torch.set_num_threads(before)
    return state, task, torch.tensor([one["train_loss"] for one in watcher.records])


def soft(state, task, device="cpu"):
    """Soft values of the tiny stack, (S, K, H, W), in [0, 1]."""
    model, head = state.model.to(device), state.head.to(device)
    return Predictor(model, head, torch.device(device), "float32")(task.stack.image).cpu()


def test_two_threads_give_the_same_bits_each_time():
    states = [learned(threads=2)[0] for _ in range(2)]
    one, other = (list(state.model.state_dict().values()) for state in states)
    assert all(map(torch.equal, one, other))


# float32 sums the same numbers in another order: losses of a short training and the soft values
# of one network differ by no more than these, relative and absolute
LOSS, VALUE = 1e-3, 1e-4


@pytest.mark.parametrize("change", [{"threads": 2}, {"memory_format": "channels_last"}], ids=str)
def test_threads_and_memory_format_change_rounding_only(change):
    (state, task, losses), (_, _, others) = learned(), learned(**change)
    torch.testing.assert_close(others, losses, rtol=LOSS, atol=0)
    straight = soft(state, task)
    state.model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(soft(state, task), straight, rtol=0, atol=VALUE)
    assert straight.max() > 0.2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_a_trained_networks_soft_values_to_one_in_ten_thousand(monkeypatch):
    """In float32; a whole training there draws another dropout, so it ends elsewhere."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # as resolve_hardware does
    state, task, _ = learned()
    torch.testing.assert_close(soft(state, task, "cuda"), soft(state, task), rtol=0, atol=VALUE)
