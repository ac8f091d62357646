"""The rows of the bench for 3D networks, and those that compare softseg with nnU-Net."""

from __future__ import annotations

import sys

import bench
import bench_epoch
import bench_memory
import bench_nnunet
import bench_parts
import pytest
from rich.console import Console

from softseg.datasets.phantom import write_phantom
from softseg.runs.data import list_subjects

SMALL = (
    "patches.size=[16, 16, 8]",
    "model.filters=2",
    "model.depth=1",
    "trainer.threads=1",
    "trainer.batch_size=2",
)
PLAN = {
    "patch_size": [8, 32, 64],
    "batch_size": 2,
    "architecture": {
        "arch_kwargs": {
            "features_per_stage": [4, 8, 8],
            "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
            "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        }
    },
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    write_phantom(folder / "phantom", "scgm", subjects=4)
    return folder


@pytest.fixture(autouse=True)
def _no_real_scans(monkeypatch):
    monkeypatch.delenv("SOFTSEG_DATA", raising=False)


def test_sides_alternate_and_ratios_are_those_of_a_round():
    done, seconds = [], {"a": iter([9, 2, 6, 8]), "b": iter([1, 1, 2, 4])}

    def work(name):
        done.append(name)
        taken = next(seconds[name])
        return taken, 10 * taken

    times = bench_parts.alternating(3, {name: lambda name=name: work(name) for name in "ab"})
    assert done == ["a", "b"] * 4
    parts = bench_parts.ratios_of(times, "a")
    assert parts["ratios"] == {"a / b": {"median": 2, "lowest": 2, "highest": 3}}
    assert parts["seconds"]["a, CPU"] == {"median": 6, "lowest": 2, "highest": 8}
    assert parts["seconds"]["b, wall"] == {"median": 20, "lowest": 10, "highest": 40}


def test_the_times_of_every_round_are_a_table(tmp_path):
    bench.write_times(tmp_path / "a.csv", {"patches": {"a patch": {"softseg": [(0.5, 2), (1, 3)]}}})
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "row,work,side,round,cpu_seconds,wall_seconds",
        "patches,a patch,softseg,1,0.500000,2.000000",
        "patches,a patch,softseg,2,1.000000,3.000000",
    ]


def test_the_gain_of_the_command_is_not_compared_with_the_target(monkeypatch, tmp_path):
    works = {"a scan": 4.0, "a scan, mirrored": 3.5, bench_nnunet.COMMAND: 1.0}
    times = {work: {"softseg": [[1, 9]], "nnU-Net": [[gain, 9]]} for work, gain in works.items()}
    monkeypatch.setattr(bench_nnunet, "real_data", lambda: tmp_path)
    monkeypatch.setattr(bench_nnunet, "in_child", lambda *given, **options: times)
    row = bench_nnunet.prediction_against_nnunet(1)
    assert (row["value"], row["met"]) == (3.5, True)


def test_rows_without_real_scans_are_not_measured():
    rows = [
        bench_epoch.volumes_epoch_against_bare_steps(1),
        bench_nnunet.patches_against_nnunet(1),
        bench_nnunet.prediction_against_nnunet(1),
    ]
    assert all((row["value"], row["met"]) == (None, None) for row in rows)
    assert all(row["parts"] == bench_parts.NO_DATA for row in rows)


def test_an_epoch_of_volumes_is_compared_with_its_bare_steps(phantom, monkeypatch):
    def few_volumes(_, *changes, axes):
        config = bench_parts.cpu_training(phantom, *changes, *SMALL, axes=axes)
        return config, bench_parts.prepare_data(config, Console(quiet=True))

    monkeypatch.setattr(bench_epoch, "real_data", lambda: phantom)
    monkeypatch.setattr(bench_epoch, "hippocampus", few_volumes)
    row = bench_epoch.volumes_epoch_against_bare_steps(1)
    assert row["value"] == row["parts"]["ratios"]["epoch / bare steps"]["median"] > 0


def test_the_memory_of_volumes_is_measured(phantom, monkeypatch):
    monkeypatch.setattr(
        bench_memory,
        "cpu_training",
        lambda *given, **axes: bench_parts.cpu_training(*given, *SMALL, **axes),
    )
    peak, size = bench_memory.training_peak(str(phantom), "null", axes=3, samples=2)
    assert peak > size > 0
    assert bench_memory.bare_peak(str(phantom), axes=3, samples=2) > 0


def test_softseg_gets_the_network_and_the_patches_that_nnunet_planned(phantom):
    changes = bench_nnunet.planned_changes(PLAN)
    experiment = bench_parts.cpu_training(phantom, *changes, axes=3)
    assert experiment.patches.size == (64, 32, 8)
    assert experiment.model.level_strides == ((2, 2, 1), (2, 2, 2))
    assert experiment.model.level_kernels == ((3, 3, 1), (3, 3, 3), (3, 3, 3))
    assert experiment.model.level_filters == (4, 8, 8)
    assert experiment.trainer.batch_size == 2


def test_patches_of_softseg_are_timed_for_one(phantom):
    changes = ("augment=[{preset: nnunet_3d}]", *SMALL)
    experiment = bench_parts.cpu_training(phantom, *changes, axes=3)
    subjects = list_subjects(experiment, Console(quiet=True))
    work = bench_nnunet.patch_work(experiment, subjects[:2], 2)
    cpu, wall = work()
    assert 0 < cpu < 5
    assert 0 < wall < 60


@pytest.fixture
def fake_python(tmp_path):
    """A program in the place of nnU-Net's Python: it answers each work as the worker does."""

    def write(*lines):
        program = tmp_path / "python"
        program.write_text("\n".join([f"#!{sys.executable}", *lines]) + "\n")
        program.chmod(0o755)
        return program

    return write


def test_nnunets_times_are_those_of_one_patch(fake_python, tmp_path):
    answers = 'import sys\nprint("{}", flush=True)'
    works = "for line in sys.stdin: print('[4, 2.0, 6.0]', flush=True)"
    nnunet = bench_nnunet.NnUnet(fake_python(answers, works), tmp_path)
    assert nnunet.plan == {}
    assert nnunet.work("load", 4) == (0.5, 1.5)
    nnunet.close()
    assert nnunet.process.returncode == 0


def test_an_error_of_nnunet_is_shown(fake_python, tmp_path):
    with pytest.raises(RuntimeError, match="out of order"):
        bench_nnunet.NnUnet(fake_python('raise SystemExit("out of order")'), tmp_path)
