"""The summary before a run: subjects, slices, softness after every stage, hardware, epochs."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from softseg import losses
from softseg.data import Sets
from softseg.data.nifti.grid import Grid
from softseg.datasets.phantom import write_phantom
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import VolumeStatistics
from softseg.runs.data import PreparedData, check_sets
from softseg.training.run_summary import geometry_lines, softness_line, summarize, summarize_data
from tests.support import experiments
from tests.support.tiny import tiny_stack, tiny_state, tiny_task

SETS = Sets(train=("s0", "s1"), validation=("s2",), test=("s3",))


def experiment(*augment, **trainer):
    trainer = {"device": "cpu", "threads": 2, "max_epochs": 11, **trainer}
    return experiments.experiment(experiments.TINY, augment, **trainer)


def stack_with(*statistics):
    """The tiny stack, its volumes with these statistics."""
    stack = tiny_stack()
    volumes = [replace(v, statistics=f) for v, f in zip(stack.volumes, statistics, strict=True)]
    return replace(stack, volumes=tuple(volumes))


def soft(files, raters, preprocess):
    return VolumeStatistics(
        {"files": files, "raters": raters, "preprocess": preprocess}, (100.0,), (1.0,)
    )


def test_softness_is_printed_for_every_stage_of_the_training_data():
    """Percentages are of the voxels above 0, summed over the training subjects only."""
    other = soft((9, 9), (9, 9), (9, 9))
    stack = stack_with(
        soft((0, 10), (2, 10), (5, 20)), soft((1, 30), (4, 30), (25, 40)), other, other
    )
    line = softness_line(experiment(), SETS, stack)
    assert line == (
        "soft voxels of those above 0: files 2.5 % -> raters 15.0 % -> preprocess 50.0 %; "
        "the ground truth is not binarized"
    )


def test_binarizing_is_printed_in_capitals_and_leaves_no_soft_voxel():
    steps = ({"affine": {}}, {"binarize": {"threshold": 0.4}})
    line = softness_line(experiment(*steps), SETS, tiny_stack())
    before, after = line.split(" -> affine ")[1].split(" % -> binarize ")
    assert float(before) > 5
    assert after == "0.0 %; the ground truth is BINARIZED at 0.4"


def test_an_empty_mask_counts_as_0_percent_soft():
    stack = stack_with(*[soft((0, 0), (0, 0), (0, 0))] * 4)
    assert "files 0.0 %" in softness_line(experiment(), SETS, stack)


def test_printing_the_softness_does_not_change_the_targets():
    stack = tiny_stack()
    target = stack.target.clone()
    lines = [softness_line(experiment({"affine": {}}), SETS, stack) for _ in range(2)]
    assert lines[0] == lines[1]
    assert torch.equal(stack.target, target)


def test_the_number_of_slices_excludes_dropped_slices():
    stack = tiny_stack()
    stack.keep[0] = stack.keep[1] = False
    stack.keep[9:12] = False
    data, _, geometry = summarize_data(experiment(), SETS, stack)
    assert data == (
        "data      training 2 subjects, 6 slices · validation 1 subject, 1 slice · "
        "test 1 subject, 4 slices, 24 x 24 pixels"
    )
    assert geometry.startswith("geometry  gm: Dice ceiling ")


def test_oblong_pixels_are_no_problem_for_a_rotation_or_a_contour_loss():
    stack = tiny_stack()
    grid = Grid((24, 24, 4), np.diag([0.5, 2.0, 5.0, 1.0]))
    volumes = [replace(v, geometry=Geometry(grid, grid)) for v in stack.volumes]
    stack = replace(stack, volumes=tuple(volumes))
    terms = [{"loss": {"name": "mse"}}, {"loss": {"name": "boundary"}}]
    contours = losses.build({"name": "combination", "terms": terms})
    rotated = experiment({"affine": {}}).model_copy(update={"loss": contours})
    assert "warning" not in "\n".join(summarize_data(rotated, SETS, stack))
    check_sets(rotated, stack, SETS)


def test_synthetic_data_are_marked_as_synthetic(tmp_path):
    config = experiment()
    dataset = config.dataset.model_copy(update={"root": str(tmp_path)})
    config = config.model_copy(update={"dataset": dataset})
    assert "SYNTHETIC" not in "\n".join(summarize_data(config, SETS, tiny_stack()))
    write_phantom(tmp_path / "phantom", "scgm", 1, 0)
    shutil.copy(tmp_path / "phantom" / "README", tmp_path)
    assert "SYNTHETIC" in summarize_data(config, SETS, tiny_stack())[0]


def test_the_geometry_line_names_the_worst_subject():
    nan = float("nan")
    statistics = [
        VolumeStatistics({}, (98.0, nan), (1.0, 1.0)),
        VolumeStatistics({}, (92.0, nan), (0.9, 1.0)),
        VolumeStatistics({}, (nan, nan), (0.5, 1.0)),
        VolumeStatistics({}, (95.0, nan), (1.0, 1.0)),
    ]
    lines = geometry_lines(stack_with(*statistics).volumes, ["gm", "lesion"])
    assert len(lines) == 1  # no Dice of a target that no subject has
    assert re.search(r"gm: Dice ceiling 95\.0 % mean, 92\.0 % lowest \(s1\)", lines[0])
    assert re.search(r"the crop keeps 85\.0 % of the mask, 50\.0 % at least \(s2\)", lines[0])


def test_the_geometry_line_names_no_subject_if_all_are_the_same():
    volumes = stack_with(*[VolumeStatistics({}, (100.0,), (1.0,))] * 4).volumes
    assert geometry_lines(volumes, ["gm"]) == [
        "geometry  gm: Dice ceiling 100.0 % mean; the crop keeps 100.0 % of the mask"
    ]


def test_empty_masks_are_not_counted_as_inside_the_crop():
    empty = VolumeStatistics({}, (float("nan"),), (float("nan"),))
    volumes = stack_with(VolumeStatistics({}, (30.0,), (0.2,)), empty, empty, empty).volumes
    assert "the crop keeps 20.0 % of the mask" in geometry_lines(volumes, ["gm"])[0]


@pytest.mark.parametrize(
    ("done", "expected"),
    [(1, "epochs    11 at most, resuming with epoch 2"), (0, "epochs    11 at most")],
)
def test_the_summary_contains_hardware_network_and_epochs(done, expected):
    task = tiny_task(tiny_stack(), batch_size=8)
    state = tiny_state(task)
    state.epoch = done
    prepared = PreparedData(SETS, task.stack)
    first, *_, network, epochs = summarize(experiment(), prepared, state).splitlines()
    for word in ("tiny", "cpu", "2 threads", "float32"):
        assert word in first
    count = sum(p.numel() for p in state.model.parameters())
    assert network == (f"network   unet2d, {count:,} parameters, head normrelu, loss adaptive_wing")
    assert epochs == expected


def test_the_summary_names_the_steps_that_the_last_epochs_leave_out():
    task = tiny_task(tiny_stack())
    steps = ({"affine": {}}, {"noise": {}}, {"elastic": {}}, {"affine": {}})
    changed = experiment(*steps, uninterpolated_fraction=0.3, early_stopping=None)
    *_, epochs = summarize(changed, PreparedData(SETS, task.stack), tiny_state(task)).splitlines()
    assert epochs == "epochs    11 at most, the last 3 without affine, elastic"


@pytest.mark.parametrize(
    ("device", "there", "line"),
    [
        ("cpu", True, None),
        ("cuda:0", True, "slices    0.0 GiB on cuda:0"),
        ("cuda:0", False, "slices    0.0 GiB in the computer's memory: cuda:0 has no room"),
        ("mps", False, "slices    0.0 GiB in the computer's memory: mps has no room"),
    ],
)
def test_the_summary_of_a_gpu_states_where_the_slices_are(device, there, line):
    stack = tiny_stack()
    near = stack.to(torch.device("meta")) if there else stack
    prepared, state = PreparedData(SETS, stack), tiny_state(tiny_task(stack))
    lines = summarize(experiment(device=device), prepared, state, near=near).splitlines()
    found = [text for text in lines if text.startswith("slices")]
    assert (found == []) if line is None else found[0].startswith(line)
