"""Training on an accelerator: the values of a CPU, no mixed devices, no step that waits."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from softseg.augment.presets import PRESETS
from softseg.losses import SingleLoss
from softseg.models.blocks import BlockOptions
from softseg.models.heads import NormRelu
from softseg.preprocess.steps import Standardize
from softseg.training import loop
from softseg.training.profile import bare_step_seconds
from tests.emulated.epochs import Setup, check, compare, make_states, make_task, on_accelerator
from tests.support.accelerator import recorded
from tests.support.losses import CONTOUR, combination, label
from tests.support.tiny import Watcher, with_ignored, with_raters, with_weights

LOSSES = [{"name": loss.model_fields["name"].default} for loss in get_args(SingleLoss)]
SCHEDULED = combination(
    ({"name": "generalized_dice"}, {"name": "rebalance", "role": "regional", "step": 0.5}),
    ({"name": "boundary"}, {"name": "rebalance", "role": "contour", "step": 0.5}),
)


def choices(component, field):
    """Every value that a YAML key takes, so that a new one is tested without a change here."""
    return get_args(component.model_fields[field].annotation)


@pytest.mark.parametrize("name", ["gpu", "gpu:0"])  # as `cuda` and `cuda:0`
@pytest.mark.parametrize(("resident", "uploads"), [(True, 1), (False, 4)])
def test_slices_on_the_device_or_the_host_by_either_name(name, resident, uploads):
    check(Setup(device=name, resident=resident), uploads)


@pytest.mark.parametrize("loss", [*LOSSES, *CONTOUR, SCHEDULED], ids=label)
def test_every_loss(loss):
    check(Setup(loss=loss, targets=2))


@pytest.mark.parametrize("loss", [*LOSSES, SCHEDULED], ids=label)
def test_every_loss_with_ignored_voxels(loss):
    check(Setup(loss=loss, prepare=with_ignored))


@pytest.mark.parametrize("loss", [*LOSSES, SCHEDULED], ids=label)
def test_every_loss_with_weights(loss):
    check(Setup(loss=loss, prepare=with_weights))


@pytest.mark.parametrize("resident", [True, False])
def test_maps_raters_ignored_voxels_weights_and_oblong_pixels_at_once(resident):
    def prepare(stack):
        return with_weights(with_ignored(with_raters(stack)))

    task = {"spacings": torch.linspace(0.5, 2, 32).view(16, 2)}
    setup = Setup(loss={"name": "boundary"}, prepare=prepare, task=task, resident=resident)
    check(setup, 2 if resident else 7)


@pytest.mark.parametrize("scope", choices(NormRelu, "scope"))
def test_every_scope_of_a_normrelu(scope):
    check(Setup(head={"name": "normrelu", "scope": scope, "bias": 0.5}, targets=2))


def test_a_sigmoid():
    check(Setup(head={"name": "sigmoid", "prior": 0.1}))


@pytest.mark.parametrize("by", choices(BlockOptions, "dropout_by"))
@pytest.mark.parametrize("position", choices(BlockOptions, "dropout_position"))
def test_every_dropout(by, position):
    check(Setup(model={"dropout": 0.3, "dropout_by": by, "dropout_position": position}))


@pytest.mark.parametrize("norm", choices(BlockOptions, "norm"))
@pytest.mark.parametrize("block", choices(BlockOptions, "block"))
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_every_block(norm, block, memory_format):
    model = {"norm": norm, "block": block, "norm_groups": 2}
    trainer = {"memory_format": memory_format}
    check(Setup(model=model, trainer=trainer, channels=4))


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_bf16(memory_format):
    trainer = {"precision": "bf16", "memory_format": memory_format}
    done = check(Setup(trainer=trainer, channels=4, tolerance=5e-2))
    assert all(step.casts > 0 for step in done.steps)


@pytest.mark.parametrize(
    "setup",
    [
        Setup(steps=()),
        Setup(steps=({"affine": {}}, {"binarize": {}})),
        Setup(task={"restandardize": Standardize(over="slice")}),
        Setup(trainer={"clip_gradient": 1.0}),
        Setup(trainer={"oversample_foreground": 0.5}),
        Setup(frozen=2),
    ],
    ids=["no augmentation", "binarize", "restandardize", "clipping", "oversampling", "frozen"],
)
def test_other_settings(setup):
    check(setup, len(setup.steps[:1]))


STEPS = [
    {"affine": {"probability": 0.5, "shear": 0.1}},
    {"elastic": {"magnitude": [2, 2], "scale": [6, 9], "probability": 0.7}},
    {"flip": {"axes": [0, 1]}},
    {"noise": {"probability": 0.7}},
    {"noise": {"distribution": "rician"}},
    {"blur": {"probability_per_contrast": 0.5}},
    {"low_resolution": {}},
    {"brightness": {"probability": 0.7}},
    {"contrast": {}},
    {"gamma": {"probability": 0.7}},
    {"bias_field": {}},
    {"contrast_dropout": {"probability_per_contrast": 0.5}},
    {"mixup": {}},
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: next(iter(step)))
def test_every_augmentation_runs_on_the_device_without_waiting(step):
    done = compare(Setup(steps=(step,), channels=2))
    assert [log.waits for log in done.steps] == [[], []]
    assert [str(read) for log in (done.start, *done.steps) for read in log.reads] == []


def test_a_whole_chain_of_augmentation_runs_on_the_device_without_waiting():
    done = compare(Setup(steps=PRESETS["nnunet"], channels=2, prepare=with_ignored))
    assert [log.waits for log in done.steps] == [[], []]
    assert [str(read) for log in (done.start, *done.steps) for read in log.reads] == []


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 5e-3), ("bf16", 5e-2)])
def test_deterministic_algorithms(precision, tolerance):
    check(Setup(trainer={"precision": precision}, tolerance=tolerance))


def test_the_bare_steps_of_a_profile_are_those_of_a_copy():
    setup = Setup()
    task = on_accelerator(make_task(setup), setup)
    _, twin = make_states(task, setup)
    before = [parameter.cpu().clone() for parameter in twin.model.parameters()]
    assert bare_step_seconds(twin, task, repeats=1, warm_up=1) > 0
    after = [parameter.cpu() for parameter in twin.model.parameters()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("resident", [True, False])
def test_torchio_takes_slices_to_the_cpu_and_back(resident):
    setup = Setup(steps=({"affine": {}}, {"RandomBlur": {}}), resident=resident)
    task = make_task(setup)
    state, twin = make_states(task, setup)
    expected = loop.train_epoch(state, task, Watcher())
    values = loop.train_epoch(twin, on_accelerator(task, setup), Watcher())
    assert values.tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_target_outside_of_0_to_1_makes_the_loss_nan():
    setup = Setup(prepare=lambda stack: replace(stack, target=stack.target * 2), steps=())
    task = on_accelerator(make_task(setup), setup)
    _, twin = make_states(task, setup)
    with recorded() as log:
        values = loop.train_epoch(twin, task, Watcher())
        assert log.reads == []
    assert values.isnan().any()


def test_fit_reads_the_values_of_an_epoch_at_once():
    setup = Setup(trainer={"max_epochs": 2})
    task = on_accelerator(make_task(setup), setup)
    _, twin = make_states(task, setup)
    watcher = Watcher()
    with recorded() as log:
        loop.fit(twin, task, watcher)
    assert [read.what for read in log.reads] == ["copy to the host"] * 2
    assert len(watcher.records) == 2
