"""The bench: both sides of a row do the same work, and a row reports the measurements."""

from __future__ import annotations

import importlib.util
import os
import time

import bench
import bench_augment
import bench_feeding
import bench_losses
import bench_parts
import bench_precision
import bench_preprocess
import bench_start
import bench_steps
import numpy as np
import pytest
import torch
from bench_child import in_child
from bench_peers import (
    monai_affine,
    monai_slices,
    torchio_affine,
    torchio_batches,
    torchio_subjects,
)
from bench_step_peers import STEP_PEERS
from pydantic import TypeAdapter
from rich.console import Console

from softseg import losses
from softseg.augment import Affine, Batch, RandomStep, augment
from softseg.datasets.phantom import write_phantom
from softseg.runs.data import prepare_data


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """A folder with a small phantom in the place that the bench expects."""
    folder = tmp_path_factory.mktemp("bench")
    write_phantom(folder / "phantom", "scgm", subjects=4)
    return folder


@pytest.fixture(autouse=True)
def _no_real_scans(monkeypatch):
    monkeypatch.delenv("SOFTSEG_DATA", raising=False)


def test_sides_alternate_and_the_first_round_does_not_count():
    done = []

    def work(name, seconds):
        done.append(name)
        time.sleep(seconds if done.count(name) > 1 else 0.2)

    sides = {"slow": lambda: work("slow", 0.02), "quick": lambda: work("quick", 0.001)}
    seconds = bench_parts.medians(3, sides)
    assert done == ["slow", "quick"] * 4
    assert 0.001 <= seconds["quick"] < 0.2
    assert 0.02 <= seconds["slow"] < 0.2


def test_a_child_is_another_process_with_the_requested_threads():
    assert in_child(os.getpid) != os.getpid()
    assert in_child(os.getenv, "OMP_NUM_THREADS", cores=3) == "3"


def test_a_row_is_printed_with_its_duration(capsys):
    rows = [bench.timed(lambda rounds: bench_parts.row_of(f"{rounds} rounds", "printed"), 4)]
    assert set(rows[0]) == {"name", "value", "target", "met", "parts", "took"}
    bench.show(rows)
    assert "4 rounds" in capsys.readouterr().out


def test_precisions_are_compared_in_the_same_steps_and_predictions(phantom, monkeypatch):
    works = bench_precision.precision_works(phantom / "phantom", filters=2)
    assert list(works) == [
        f"{part}, {precision}"
        for precision in ("float32", "bf16")
        for part in ("training step", "prediction")
    ]
    soft = {name: work() for name, work in works.items() if name.startswith("prediction")}
    assert soft["prediction, float32"].shape == soft["prediction, bf16"].shape == (8, 1, 128, 128)
    for name in ("training step, float32", "training step, bf16"):
        works[name]()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    row = bench_precision.bf16_against_float32(1)
    assert (row["value"], row["met"]) == (None, None)


def test_augmentation_is_compared_with_the_fastest_side_of_each_peer():
    seconds = {"softseg": 1.0, "torchio": 16.0, "monai": 30.0, "monai without metadata": 9.0}
    row = bench_augment.evaluate_row(seconds)
    assert (row["value"], row["met"]) == (9.0, False)
    assert bench_augment.evaluate_row({**seconds, "monai without metadata": 11.0})["met"] is True
    assert (
        bench_augment.evaluate_row({"softseg": 1.0, "torchio": 16.0})["met"] is None
    )  # monai is missing


def test_every_random_step_is_measured():
    measured = {step.name for step in bench_steps.parse_steps(bench_steps.CERTAIN)}
    # mixup has no counterpart, and of a single contrast nothing is dropped
    assert measured == random_steps(RandomStep) - {"contrast_dropout", "mixup"}


def random_steps(base):
    """Return the names of softseg's steps below a class."""
    children = [child for child in base.__subclasses__() if child.__module__.startswith("softseg.")]
    names = {
        child.model_fields["name"].default for child in children if "name" in child.model_fields
    }
    return names.union(*(random_steps(child) for child in children))


def test_the_preset_is_compared_with_the_fastest_side_of_each_peer_in_its_worst_shape():
    slices = {
        "softseg": 1.0,
        "torchio": 12.0,
        "batchgeneratorsv2": 5.0,
        "batchgeneratorsv2, soft targets": 4.0,
    }
    patches = slices | {"batchgeneratorsv2, soft targets": 3.5}
    row = bench_steps.evaluate_preset({"2D": {"nnunet": slices}, "3D": {"nnunet": patches}})
    assert (row["value"], row["met"]) == (3.5, True)
    slow = {"2D": {"nnunet": {**slices, "torchio": 9.0}}}
    assert bench_steps.evaluate_preset(slow)["met"] is False
    assert bench_steps.evaluate_preset({"2D": {"nnunet": {"softseg": 1.0}}})["met"] is None


def test_elastic_deformation_is_compared_with_torchios():
    measured = {
        shape: {"elastic": {"softseg": 1.0, "torchio": gain, "monai": 2.0}}
        for shape, gain in (("2D", 30.0), ("3D", 11.0))
    }
    row = bench_steps.evaluate_steps(measured)
    assert (row["value"], row["met"]) == (11.0, True)
    assert row["parts"]["times as fast as"]["2D"]["elastic"] == {"torchio": 30.0, "monai": 2.0}
    row = bench_steps.evaluate_steps({"2D": {"elastic": {"softseg": 1.0}}})
    assert (row["value"], row["met"]) == (None, None)


def test_the_preset_is_measured_as_a_whole_and_by_step(monkeypatch):
    monkeypatch.setattr(bench_steps, "installed", lambda peers: [])
    seconds = bench_steps.preset_seconds(1, (2, 1, 8, 8), samples=2)
    assert list(seconds)[:2] == ["nnunet", "step 1 alone, affine"]
    assert len(seconds) == 11
    assert all(list(sides) == ["softseg"] for sides in seconds.values())


@pytest.mark.parametrize("size", [(32, 32), (8, 8, 8)])
@pytest.mark.parametrize("peer", list(STEP_PEERS))
def test_a_peers_step_changes_the_image_as_much_as_softsegs(peer, size):
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"needs {peer}")
    draws = torch.Generator().manual_seed(0)
    image = torch.rand(24, 1, *size, generator=draws)
    target = (image > 0.5).float()
    for step in bench_steps.parse_steps(bench_steps.CERTAIN):
        batch = Batch(image.clone(), target.clone(), torch.zeros(24, 1))
        ours = (augment(batch, [step], draws).image - image).abs().mean()
        for work in STEP_PEERS[peer]([step], image, target).values():
            changed = [torch.as_tensor(sample["image"].data) for sample in work()]
            theirs = (torch.stack(changed).view_as(image) - image).abs().mean()
            if step.name in ("elastic", "gamma", "bias_field"):  # some define them in other ways
                assert theirs > 0
            else:
                assert 0.5 < theirs / ours < 2, step.name


def test_feeding_is_compared_with_the_best_number_of_workers():
    sides = {
        "softseg": 2.0,
        "bare steps": 1.6,
        "torchio, 2 workers": 5.0,
        "torchio, 0 workers": 6.0,
        "monai, 2 workers": 8.0,
        "monai, 0 workers": 4.2,
    }
    row = bench_feeding.evaluate_row({"all cores": sides, "one core": sides})
    assert (row["value"], row["met"]) == (2.1, True)
    assert row["parts"]["softseg / bare steps"]["all cores"] == 1.25


def test_preprocessing_fails_where_a_cache_hit_costs_too_much():
    sides = {"softseg": 1.0, "torchio": 6.0, "cache miss": 2.0, "cache hit": 0.05}
    row = bench_preprocess.evaluate_row({1: sides})
    assert (row["value"], row["met"]) == (6.0, True)
    assert bench_preprocess.evaluate_row({1: {**sides, "cache hit": 0.2}})["met"] is False


def test_every_loss_is_measured():
    names = {loss.name for loss in bench_losses.every_loss()}
    assert names == set(TypeAdapter(losses.Loss).json_schema()["discriminator"]["mapping"])
    [seconds] = bench_losses.loss_seconds(1, [(1, 1, 4, 4)], repeats=1)
    assert set(seconds) == names


def moved_by(peer, affine, image, target):
    """Return the slices (N, 1, H, W) after a peer's transform."""
    height, width = image.shape[2:]
    if peer == "torchio":
        transform = torchio_affine(affine, height, width)
        moved = [transform(subject) for subject in torchio_subjects(image, target)]
        return torch.stack([torch.stack([m[k].data[..., 0] for k in m]) for m in moved], dim=1)
    transform = monai_affine(affine, height, width)
    moved = [transform(pair) for pair in monai_slices(image, target)]
    pairs = [torch.stack([torch.as_tensor(m[k]) for k in ("image", "target")]) for m in moved]
    return torch.stack(pairs, dim=1)


@pytest.mark.parametrize("peer", ["torchio", "monai"])
def test_a_peer_transforms_image_and_target_equally_and_as_much_as_softseg(peer):
    """Compare how far a disc moves and grows over many draws."""
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"needs {peer}")
    row, column = np.mgrid[:64, :64]
    disc = torch.from_numpy(1.0 * (np.hypot(row - 31.5, column - 51.5) < 7)).float()
    slices = disc.expand(60, 1, 64, 64)
    image, target = moved_by(peer, Affine(rotation=20, translation=0.0, scale=0.0), slices, slices)
    assert torch.allclose(image.float(), target.float(), atol=1e-5)
    mass = target.sum(dim=(1, 2, 3))
    assert mass.numpy() == pytest.approx(float(disc.sum()), rel=0.02)
    height = (target[:, 0].sum(dim=2) * torch.arange(64)).sum(dim=1) / mass - 31.5
    angle = np.rad2deg(np.arcsin(height.numpy() / 20))
    assert 15 < np.abs(angle).max() <= 20.5
    assert np.abs(angle).std() > 3


def test_the_peers_batches_train_the_same_network_and_others_are_rejected(phantom):
    config = bench_parts.cpu_training(phantom, "model.filters=2", "model.depth=1")
    state, task = bench_parts.start_training(config, prepare_data(config, Console(quiet=True)))
    task = bench_parts.limit_slices(task, 11)
    image, target = task.stack.image[task.rows], task.stack.target[task.rows]
    bench_feeding.fed_epoch(state, task, torchio_batches(image, target, 8, 0)())
    with pytest.raises(ValueError, match="not"):
        bench_feeding.fed_epoch(state, task, torchio_batches(image[:8], target[:8], 8, 0)())


def test_torchios_preprocessing_equals_softsegs(phantom):
    config, [subject] = bench_preprocess.scans(phantom, 1)
    ours = bench_preprocess.store_slices(config, [subject])
    theirs = bench_preprocess.torchio_volume(config, subject)
    image = theirs["image0"].data.permute(3, 0, 1, 2)
    assert image.shape == ours.image.shape
    both = torch.stack([ours.image.flatten(), image.flatten().float()])
    assert torch.corrcoef(both)[0, 1] > 0.98


def test_a_command_with_an_unexpected_status_raises():
    assert bench_start.imports("typer", ["--help"])
    assert not bench_start.imports("typ", ["--help"])
    with pytest.raises(RuntimeError, match="ended with 2"):
        bench_start.call(["train"], 0)
