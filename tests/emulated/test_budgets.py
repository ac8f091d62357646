"""Budgets of what a step, an epoch and a validation ask of an accelerator.

In bf16 a step is bound by the host, which launches each operation, so that one more operation is
slower everywhere. A change that needs fewer lowers the number here; one that needs more has to say
why. The network, loss and augmentation are those of configs/scgm_softseg.yaml with fewer filters,
which is the same number of operations.
"""

from __future__ import annotations

from functools import cache

import pytest

from softseg.config.load import load_experiment
from tests.emulated.epochs import Setup, check
from tests.support.accelerator import DeviceTensor
from tests.support.paths import CONFIGS

OPERATIONS = 206  # of a step, without casts, in either precision
CASTS = {"float32": 0, "bf16": 63}
UPLOADS = 1  # the matrices of the affine
WAITS_OF_AN_EPOCH = 0  # in addition to the two of `fit`
WAITS_OF_THE_FIRST_VALIDATION = 1  # the indices of its slices
OPERATIONS_OF_A_VALIDATION = 125  # of one volume


@cache
def record(precision):
    experiment = load_experiment(CONFIGS / "scgm_softseg.yaml")
    setup = Setup(
        loss=experiment.loss.model_dump(),
        head=experiment.model.head.model_dump(),
        model=experiment.model.model_dump(exclude={"name", "head"}) | {"filters": 4},
        steps=experiment.model_dump()["augment"],
        trainer={"precision": precision},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeviceTensor, "is_cuda", True)  # the fused update
        return check(setup, UPLOADS)


@pytest.mark.parametrize("precision", CASTS)
def test_operations_of_a_step(precision):
    for step in record(precision).steps:
        assert step.operations <= OPERATIONS, f"more operations: {step.launched}"
        assert step.casts <= CASTS[precision], f"more casts: {step.launched}"


def test_waits_of_an_epoch():
    done = record("float32")
    waits = done.start.waits + done.end.waits
    assert len(waits) <= WAITS_OF_AN_EPOCH, waits


def test_a_validation():
    validation = record("float32").validation
    assert len(validation.waits) <= WAITS_OF_THE_FIRST_VALIDATION, validation.waits
    assert validation.launched.total() <= OPERATIONS_OF_A_VALIDATION, validation.launched
