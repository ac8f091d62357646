"""The order of the slices of an epoch, and the sampling of raters."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softseg.training import loop
from softseg.training.batches import collate, epoch_batches, epoch_order, sample_raters
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task


def order(rows, foreground, fraction, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return epoch_order(torch.tensor(rows), torch.tensor(foreground), fraction, draws).tolist()


ROWS = list(range(100, 120))
FEW = [n % 5 == 0 for n in range(20)]  # 4 of 20


def test_every_slice_occurs_once_in_random_order_without_oversampling():
    sampled = order(ROWS, FEW, None)
    assert sorted(sampled) == ROWS
    assert sampled != ROWS
    assert sampled != order(ROWS, FEW, None, seed=1)


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 10), (0.25, 5), (1.0, 20), (0.01, 1)])
def test_oversampling_sets_the_fraction_of_slices_with_a_target(fraction, expected):
    sampled = order(ROWS, FEW, fraction)
    assert len(sampled) == 20
    assert sum((row - 100) % 5 == 0 for row in sampled) == expected


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.floats(0.01, 1),
    st.integers(0, 1000),
)
def test_slices_with_and_without_a_target_are_each_sampled_evenly(foreground, fraction, seed):
    rows = list(range(len(foreground)))
    counts = Counter(order(rows, foreground, fraction, seed))
    assert sum(counts.values()) == len(rows)
    for kind in (True, False):
        times = [counts[row] for row in rows if foreground[row] == kind]
        if times:
            assert max(times) - min(times) <= 1


@pytest.mark.parametrize("every", [True, False])
def test_oversampling_has_no_effect_if_all_slices_or_none_have_a_target(every):
    assert sorted(order(ROWS, [every] * 20, 0.5)) == ROWS


def test_the_same_seed_gives_the_same_order():
    assert order(ROWS, FEW, 0.5, seed=3) == order(ROWS, FEW, 0.5, seed=3)


def test_training_uses_the_key_oversample_foreground(monkeypatch):
    """Every second slice is empty; with a fraction of 1 the network never sees one."""
    stack = tiny_stack()
    stack.target[::2] = 0
    task = tiny_task(stack, oversample_foreground=1.0)
    orders = []

    def recorded_batches(task, order, draws, raters):
        orders.append(order)
        return epoch_batches(task, order, draws, raters)

    monkeypatch.setattr(loop, "epoch_batches", recorded_batches)
    loop.train_epoch(tiny_state(task), task, Watcher())
    assert torch.cat(orders).numel() == len(task.rows)
    assert (torch.cat(orders) % 2 == 1).all()


def test_the_raters_of_a_slice_are_sampled_equally_often():
    """The mask of rater r of slice b has the value 10 b + r; slice 0 has two, slice 1 three."""
    values = torch.arange(2)[:, None] * 10 + torch.arange(3)
    raters = values[:, :, None, None, None].expand(2, 3, 2, 4, 4).float()
    draws, counts = torch.Generator().manual_seed(0), Counter()
    for _ in range(3000):
        masks = raters[torch.arange(2), sample_raters(torch.tensor([2, 3]), draws)]
        assert masks.shape == (2, 2, 4, 4)
        assert (masks == masks[:, :1, :1, :1]).all()  # all targets by the same rater
        counts.update(masks[:, 0, 0, 0].int().tolist())
    assert set(counts) == {0, 1, 10, 11, 12}
    assert all(1350 < counts[rater] < 1650 for rater in (0, 1))
    assert all(850 < counts[rater] < 1150 for rater in (10, 11, 12))


def test_training_samples_a_rater_for_each_slice_and_validation_uses_the_mean():
    stack = tiny_stack()
    n = len(stack.target)
    raters = torch.stack([torch.zeros_like(stack.target), torch.ones_like(stack.target)], dim=1)
    volumes = tuple(replace(volume, raters=2) for volume in stack.volumes)
    mean = torch.full_like(stack.target, 0.25)
    task = tiny_task(replace(stack, raters=raters, volumes=volumes, target=mean), steps=())
    first, second = (collate(task, torch.arange(n), seeded(k)).target for k in (1, 2))
    for target in (first, second):
        assert all(mask.unique().tolist() in ([0.0], [1.0]) for mask in target)
        assert 0.2 < target.mean() < 0.8
    assert not torch.equal(first, second)
    state, targets = tiny_state(task), []
    task = replace(task, loss=TargetRecorder(task.loss, targets))
    loop.validate(state, task)
    assert all((target == 0.25).all() for target in targets)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


class TargetRecorder:
    """A loss that records its targets."""

    required_maps = ()

    def __init__(self, loss, targets):
        self.loss, self.targets = loss, targets

    def at(self, epoch):
        return self

    def __call__(self, output, target, maps, ignore=None, batch_count=None, weight=None):
        self.targets.append(target)
        return self.loss(output, target)
