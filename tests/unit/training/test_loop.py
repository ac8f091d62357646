"""The training loop: repeatable to the bit, one read from the device per epoch, validation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from softseg.core.errors import TrainingError
from softseg.models.predictor import Predictor
from softseg.runs.checkpoint import write_checkpoint
from softseg.training import loop
from softseg.training import task as states
from softseg.training.batches import single_batch
from softseg.training.loop import advance, fit, train_epoch, validate
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task


def weights(state):
    return torch.cat([value.flatten().float() for value in state.model.state_dict().values()])


def fit_tiny(task, **model):
    state = tiny_state(task, **model)
    watcher = Watcher()
    fit(state, task, watcher)
    return state, watcher


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, second = (fit_tiny(tiny_task())[0] for _ in range(2))
    assert torch.equal(weights(first), weights(second))
    torch.manual_seed(99)  # the global generator must not matter
    assert torch.equal(weights(first), weights(fit_tiny(tiny_task())[0]))
    assert not torch.equal(weights(first), weights(fit_tiny(tiny_task(seed=1))[0]))


@pytest.mark.parametrize("fraction", [0, 0.4])  # of epochs without interpolation: the last two
def test_resuming_after_any_epoch_ends_with_the_same_bits(fraction, tmp_path):
    task = tiny_task(max_epochs=5, early_stopping=None, uninterpolated_fraction=fraction)
    whole, _ = fit_tiny(task)
    for stop in (1, 3, 4):
        state = tiny_state(task)

        class Killed(Watcher):
            def epoch(self, state, record, best, preview):
                write_checkpoint(states.checkpoint(state), tmp_path / "last.pt")
                if state.epoch == stop:  # noqa: B023
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fit(state, task, Killed())
        torch.manual_seed(5)
        resumed = tiny_state(task)
        states.restore(resumed, tmp_path / "last.pt")
        fit(resumed, task, Watcher())
        assert torch.equal(weights(whole), weights(resumed))
        histories = [
            [{k: v for k, v in record.items() if "seconds" not in k} for record in state.history]
            for state in (whole, resumed)
        ]
        assert histories[0] == histories[1]


def test_training_learns_the_tiny_task():
    _, watcher = fit_tiny(tiny_task(max_epochs=25, learning_rate=0.01), dropout=0.0)
    assert watcher.records[-1]["val_dice"] > 85
    assert watcher.records[-1]["val_loss"] < watcher.records[0]["val_loss"]


def test_every_training_slice_is_used_once_per_epoch():
    task = tiny_task(tiny_stack(volumes=4, slices=5), max_epochs=1)
    _, watcher = fit_tiny(task)
    assert watcher.slices == len(task.rows) == 15


def test_the_recorded_learning_rate_follows_the_cosine():
    _, watcher = fit_tiny(tiny_task(max_epochs=4, learning_rate=0.01))
    rates = [record["learning_rate"] for record in watcher.records]
    expected = [0.01 * (1 + torch.cos(torch.tensor(torch.pi * e / 4)).item()) / 2 for e in range(4)]
    assert rates == pytest.approx(expected)


class ReadCounter(TorchDispatchMode):
    """Counts values read from the device into Python, except Adam's step counters on the CPU."""

    def __init__(self, state):
        super().__init__()
        self.state, self.count = state, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            steps = {values["step"].data_ptr() for values in self.state.optimizer.state.values()}
            self.count += args[0].data_ptr() not in steps
        return func(*args, **(kwargs or {}))


def test_values_are_read_from_the_device_once_per_epoch(monkeypatch):
    lists = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda t: lists.append(len(t)) or tolist(t))
    # dice: on a CPU, adaptive_wing reads its targets; the parameters of augmentation are on the CPU
    # whatever the device, and are read there
    task = replace(tiny_task(loss="dice", max_epochs=3), augment=())
    state = tiny_state(task)
    with ReadCounter(state) as reads:
        fit(state, task, Watcher())
    assert lists == [6, 6, 6]
    assert reads.count == 0


def test_a_loss_that_is_not_finite_raises_an_error_with_the_fix():
    stack = tiny_stack()
    stack.image[0, 0, 12, 12] = float("nan")
    with pytest.raises(TrainingError, match=r"epoch 1 is not a finite number.*learning_rate"):
        fit_tiny(tiny_task(stack))


def test_validation_predicts_volumes_as_inference_does():
    task = tiny_task(max_epochs=2)
    state, _ = fit_tiny(task)
    values, preview = validate(state, task)
    volume = task.validation[0]
    image = task.stack.image[volume.start : volume.stop]
    truth = task.stack.target[volume.start : volume.stop]
    soft = Predictor(state.model, state.head, task.device)(image)
    assert values[0].item() == pytest.approx(task.loss(soft, truth).item(), abs=1e-5)
    hard, real = soft >= 0.5, truth >= 0.5
    dice = 2 * (hard & real).sum().item() / (hard.sum() + real.sum()).item()
    assert values[1].item() == pytest.approx(dice, abs=1e-5)
    assert preview.shape == (1, 1, 24, 24)


def test_binarize_hardens_the_targets_of_the_validation_loss_but_not_of_dice():
    hard = tiny_task(steps=[{"affine": {}}, {"binarize": {}}])
    soft = tiny_task()
    state = tiny_state(soft, head={"name": "sigmoid"})
    hard_values, soft_values = (validate(state, task)[0] for task in (hard, soft))
    assert hard_values[0] != soft_values[0]
    assert hard_values[1] == soft_values[1]


def test_dead_outputs_are_counted():
    task = tiny_task(max_epochs=1, learning_rate=1e-9)
    state = tiny_state(task, head={"name": "normrelu", "bias": -1000.0})
    totals = train_epoch(state, task, Watcher())
    assert totals[1] == 3
    assert validate(state, task)[0][3] == 1


def test_gradients_are_clipped_only_with_clip_gradient():
    norms = []
    for clip in (None, 1e-3):
        task = tiny_task(clip_gradient=clip, loss="adaptive_wing")
        state = tiny_state(task)
        loop.train_step(state, task, single_batch(task, task.rows[:4]))
        grads = [p.grad.norm() for p in state.model.parameters()]
        norms.append(torch.stack(grads).norm().item())
    assert norms[0] > 1e-3
    assert norms[1] == pytest.approx(1e-3, rel=0.01)


def test_bfloat16_trains_with_loss_and_head_in_float32():
    state, watcher = fit_tiny(tiny_task(precision="bf16", max_epochs=2))
    assert all(p.dtype == torch.float32 for p in state.model.parameters())
    assert watcher.records[-1]["train_loss"] > 0


def test_one_dead_target_among_several_is_counted():
    """A target with positive outputs must not hide a dead one."""
    single = tiny_stack()
    stack = replace(single, target=single.target.repeat(1, 2, 1, 1))
    task = tiny_task(stack, max_epochs=1, learning_rate=1e-9)
    state = tiny_state(task)
    last = torch.nn.Conv2d(4, 2, 3, padding=1)
    torch.nn.init.constant_(last.bias, 1000.0)
    last.bias.data[1] = -1000.0
    state.model.last = last
    assert train_epoch(state, task, Watcher())[1] == 3
    assert validate(state, task)[0][3] == 1


def test_several_targets_have_a_validation_dice_each():
    """The whole slice is predicted as each target: 2 |G| / (|G| + voxels) if G is not empty."""
    single = tiny_stack()
    empty = torch.zeros_like(single.target)
    stack = replace(single, target=torch.cat([single.target, empty], dim=1))
    task = tiny_task(stack, max_epochs=1, learning_rate=1e-9)
    state = tiny_state(task)
    state.model.last = torch.nn.Conv2d(4, 2, 3, padding=1)
    torch.nn.init.constant_(state.model.last.bias, 1000.0)
    watcher = Watcher()
    fit(state, replace(task, targets=("gm", "wm")), watcher)
    rows = stack.kept_rows(task.validation[0])
    present = (single.target[rows] >= 0.5).sum().item()
    expected = 200 * present / (present + single.target[rows].numel())
    [record] = watcher.records
    assert record["val_dice_gm"] == pytest.approx(expected, rel=1e-5)
    assert record["val_dice_wm"] == 0
    assert record["val_dice"] == pytest.approx(expected / 2, rel=1e-5)


def test_a_single_target_has_no_second_validation_dice():
    _, watcher = fit_tiny(replace(tiny_task(max_epochs=1), targets=("gm",)))
    assert [key for key in watcher.records[0] if key.startswith("val_dice")] == ["val_dice"]


def test_the_first_of_equal_validation_losses_is_the_best():
    task = tiny_task()
    state = tiny_state(task)
    state.optimizer.step()
    losses = [0.5, 0.5, 0.25, 0.25]
    records = [{"epoch": n, "train_loss": 1.0, "val_loss": x} for n, x in enumerate(losses, 1)]
    best = [advance(state, task, record) for record in records]
    assert best == [True, False, True, False]


def test_the_running_maximum_of_a_head_is_restored(tmp_path):
    head = {"name": "normrelu", "scope": "running"}
    saved = tiny_state(tiny_task(), head=head)
    saved.head.scale.maximum.fill_(3)
    saved.head.scale.seen.fill_(True)
    write_checkpoint(states.checkpoint(saved), tmp_path / "last.pt")
    restored = tiny_state(tiny_task(), head=head)
    states.restore(restored, tmp_path / "last.pt")
    assert restored.head.scale.maximum.tolist() == [3]
    assert restored.head.scale.seen.tolist() == [True]


STEPS = ({"affine": {}}, {"mixup": {}}, {"noise": {}}, {"binarize": {}})


def test_the_last_epochs_are_those_of_a_training_without_steps_that_interpolate():
    schedule = {"max_epochs": 4, "early_stopping": None}
    task = tiny_task(steps=STEPS, loss="dice", uninterpolated_fraction=0.5, **schedule)
    state, _ = fit_tiny(task)
    expected = tiny_state(task)
    for steps in (STEPS, STEPS, STEPS[2:], STEPS[2:]):
        epoch_task = tiny_task(steps=steps, loss="dice", **schedule)
        train_epoch(expected, epoch_task, Watcher())
        expected.schedule.step()
        expected.epoch += 1
    assert torch.equal(weights(state), weights(expected))
