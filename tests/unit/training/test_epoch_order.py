"""The slices of an epoch: each once, or those with a target more often."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softseg.training import loop
from softseg.training.batches import collate, epoch_batches, epoch_order, sample_rater
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task


def order(rows, foreground, share, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return epoch_order(torch.tensor(rows), torch.tensor(foreground), share, draws).tolist()


ROWS = list(range(100, 120))
FEW = [n % 5 == 0 for n in range(20)]  # 4 of 20


def test_without_a_share_every_slice_comes_once_in_another_order():
    drawn = order(ROWS, FEW, None)
    assert sorted(drawn) == ROWS
    assert drawn != ROWS
    assert drawn != order(ROWS, FEW, None, seed=1)


@pytest.mark.parametrize(("share", "inside"), [(0.5, 10), (0.25, 5), (1.0, 20), (0.01, 1)])
def test_the_share_of_slices_with_a_target_is_what_was_asked(share, inside):
    drawn = order(ROWS, FEW, share)
    assert len(drawn) == 20
    assert sum((row - 100) % 5 == 0 for row in drawn) == inside


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.floats(0.01, 1),
    st.integers(0, 1000),
)
def test_no_slice_is_drawn_much_more_often_than_another_of_its_kind(foreground, share, seed):
    rows = list(range(len(foreground)))
    drawn = Counter(order(rows, foreground, share, seed))
    assert sum(drawn.values()) == len(rows)
    for kind in (True, False):
        times = [drawn[row] for row in rows if foreground[row] == kind]
        if times:
            assert max(times) - min(times) <= 1


@pytest.mark.parametrize("every", [True, False])
def test_with_one_kind_only_there_is_nothing_to_choose(every):
    assert sorted(order(ROWS, [every] * 20, 0.5)) == ROWS


def test_the_same_seed_draws_the_same():
    assert order(ROWS, FEW, 0.5, seed=3) == order(ROWS, FEW, 0.5, seed=3)


def test_training_draws_by_the_share_of_the_yaml(monkeypatch):
    """Every second slice is empty; with a share of 1 the network never sees one."""
    stack = tiny_stack()
    stack.target[::2] = 0
    task = tiny_task(stack, oversample_foreground=1.0)
    seen = []

    def watched(task, order, draws, raters):
        seen.append(order)
        return epoch_batches(task, order, draws, raters)

    monkeypatch.setattr(loop, "epoch_batches", watched)
    loop.train_epoch(tiny_state(task), task, Watcher())
    assert torch.cat(seen).numel() == len(task.rows)
    assert (torch.cat(seen) % 2 == 1).all()


def test_each_of_a_slices_own_raters_is_drawn_equally_often():
    """Rater r of slice b has drawn 10 b + r; slice 0 has two raters, slice 1 has three."""
    drawn = torch.arange(2)[:, None] * 10 + torch.arange(3)
    raters = drawn[:, :, None, None, None].expand(2, 3, 2, 4, 4).float()
    draws, seen = torch.Generator().manual_seed(0), Counter()
    for _ in range(3000):
        one = sample_rater(raters, torch.tensor([2, 3]), draws)
        assert one.shape == (2, 2, 4, 4)
        assert (one == one[:, :1, :1, :1]).all()  # all targets by the same rater
        seen.update(one[:, 0, 0, 0].int().tolist())
    assert set(seen) == {0, 1, 10, 11, 12}
    assert all(1350 < seen[rater] < 1650 for rater in (0, 1))
    assert all(850 < seen[rater] < 1150 for rater in (10, 11, 12))


def test_training_draws_a_rater_for_each_slice_and_validation_takes_the_mean():
    stack = tiny_stack()
    n = len(stack.target)
    raters = torch.stack([torch.zeros_like(stack.target), torch.ones_like(stack.target)], dim=1)
    volumes = tuple(replace(volume, raters=2) for volume in stack.volumes)
    mean = torch.full_like(stack.target, 0.25)
    task = tiny_task(replace(stack, raters=raters, volumes=volumes, target=mean), steps=())
    first, second = (collate(task, torch.arange(n), seeded(k)).target for k in (1, 2))
    for target in (first, second):
        assert all(one.unique().tolist() in ([0.0], [1.0]) for one in target)
        assert 0.2 < target.mean() < 0.8
    assert not torch.equal(first, second)
    state, seen = tiny_state(task), []
    task = replace(task, loss=Spy(task.loss, seen))
    loop.validate(state, task)
    assert all((goal == 0.25).all() for goal in seen)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


class Spy:
    """A loss that notes its targets."""

    required_maps = ()

    def __init__(self, loss, seen):
        self.loss, self.seen = loss, seen

    def at(self, epoch):
        return self

    def __call__(self, output, target, maps):
        self.seen.append(target)
        return self.loss(output, target)
