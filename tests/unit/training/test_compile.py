"""`trainer.compile`: two batch sizes are compiled, and the results are those of other batches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softseg.runs.build import compile_network
from softseg.training.loop import fit, validate
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task


@pytest.fixture
def compiled_batches(monkeypatch):
    """Compile without generating code: the batch sizes of the graphs, in the order of compilation.

    The graphs are those that any backend would get.
    """
    sizes, original = [], torch.compile

    def backend(graph, examples):
        sizes.append(next(len(example) for example in examples if example.shape[1:] == (1, 24, 24)))
        return graph

    def compiled(function, mode=None, **options):
        return original(function, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", compiled)
    yield sizes
    torch._dynamo.reset()


def compiled_state(task):
    state = tiny_state(task, dropout=0.0)  # a CPU's dropout is compiled in several parts
    compile_network(state.model, task.trainer)
    return state


def test_a_network_is_compiled_for_one_batch_size_of_training_and_one_of_validation(
    compiled_batches,
):
    """Batches of 8, 8 and 4 in training; validation volumes of 5 and 1 + 16 slices."""
    stack = tiny_stack(volumes=10)
    eager = tiny_task(stack, batch_size=8, max_epochs=2)
    eager = replace(eager, rows=eager.rows[:20], foreground=eager.foreground[:20])
    whole = stack.volumes[0]
    volumes = (replace(whole, start=0, stop=5), replace(whole, start=10, stop=27))
    eager = replace(eager, validation=volumes)
    task = replace(eager, trainer=eager.trainer.model_copy(update={"compile": True}))
    state, expected = compiled_state(task), tiny_state(eager, dropout=0.0)
    watchers = [Watcher(), Watcher()]
    fit(state, task, watchers[0])
    fit(expected, eager, watchers[1])
    assert compiled_batches == [8, 16]
    for record, other in zip(*(watcher.records for watcher in watchers), strict=True):
        assert record["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert record["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)


def test_padding_a_batch_changes_no_prediction():
    task = tiny_task()
    state = tiny_state(task)
    _, preview = validate(state, task)
    padded = replace(task, trainer=task.trainer.model_copy(update={"compile": True}))
    torch.testing.assert_close(validate(state, padded)[1], preview, rtol=0, atol=1e-6)
