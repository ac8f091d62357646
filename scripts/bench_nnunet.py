"""Rows of `scripts/bench`: patches, predictions and commands of softseg and of nnU-Net.

nnU-Net plans the size of the patches and the network; softseg gets the same. Both use one thread.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from bench_child import in_child
from bench_nnunet_worker import CONFIGURATION, DATASET, FOLDERS
from bench_parts import (
    NO_DATA,
    Row,
    Work,
    alternating,
    on_cpu,
    ratios_of,
    real_data,
    row_of,
    start_training,
    timed,
)
from compare_environments import NNUNET
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.core import seeds
from softseg.data import Sets, Subject
from softseg.inference.model import Model, open_model, with_mirroring
from softseg.inference.predict import predict_scans
from softseg.inference.scans import Scan
from softseg.runs.data import PreparedData, list_subjects, load_store
from softseg.training.batches import epoch_batches, epoch_samples
from softseg.training.deep_supervision import pooled_target
from softseg.training.train import train

Plan = Mapping[str, Any]
SCANS, PATCHES = 24, 48  # of the loaders; patches in a round
COMMAND = "the command"
SAMPLING_TARGET, PREDICTION_TARGET = 5, 3
ENVIRONMENTS = Path(__file__).parent.parent / ".venv-peers"
_QUIET = Console(quiet=True)


class NnUnet:
    """nnU-Net in a process of its own, which does one work after the other."""

    def __init__(self, python: Path, folder: Path) -> None:
        worker = Path(__file__).with_name("bench_nnunet_worker.py")
        pipe, words = subprocess.PIPE, [python, worker, folder]
        with (folder / "nnunet.log").open("w") as log:
            self.process = subprocess.Popen(words, stderr=log, stdin=pipe, stdout=pipe, text=True)
        self.log = folder / "nnunet.log"
        self.plan: Plan = self._answer()

    def work(self, name: str, *arguments: object) -> tuple[float, float]:
        """Do a work of `Worker`; return its CPU time and wall time [s] for one patch or scan."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, arguments]) + "\n")
        self.process.stdin.flush()
        count, cpu, wall = self._answer()
        return cpu / count, wall / count

    def _answer(self) -> Any:
        """Return the next line of JSON. Raises RuntimeError with nnU-Net's output if it ended."""
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return json.loads(line)
        raise RuntimeError(f"nnU-Net ended early:\n{self.log.read_text()[-3000:]}")

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@dataclass(frozen=True)
class Sides:
    """softseg and nnU-Net, ready to do the same with the same scans."""

    nnunet: NnUnet
    subjects: list[Subject]
    experiment: Experiment  # with the network and the patches that nnU-Net has planned
    folder: Path


def patches_against_nnunet(rounds: int) -> Row:
    """CPU time of a patch from nnU-Net's loader of training / from softseg's, one thread."""
    row = row_of(
        "patches with preset nnunet_3d / nnU-Net's loader, one thread, hippocampus",
        f">= {SAMPLING_TARGET} times",
    )
    return row | compared(patch_seconds, rounds, SAMPLING_TARGET)


def prediction_against_nnunet(rounds: int) -> Row:
    """CPU time of the prediction of a scan by nnU-Net / by softseg, from file to file, one thread.

    In processes that have loaded the network, and by the commands, with their start. The value is
    the smaller gain of the processes, without and with mirroring.
    """
    row = row_of(
        "prediction of a scan / nnU-Net's, same network, one thread, hippocampus",
        f">= {PREDICTION_TARGET} times",
    )
    return row | compared(prediction_seconds, rounds, PREDICTION_TARGET)


def compared(measure: Callable[[int], Any], rounds: int, target: float) -> Row:
    """Return the rest of a row; `measure` returns work -> side -> times of rounds."""
    if real_data() is None:
        return {"parts": NO_DATA}
    times = in_child(measure, rounds, cores=1)
    parts = {work: ratios_of(sides, "nnU-Net") for work, sides in times.items()}
    gains = [
        part["ratios"]["nnU-Net / softseg"]["median"]
        for work, part in parts.items()
        if work != COMMAND
    ]
    return {"value": min(gains), "met": min(gains) >= target, "parts": parts, "times": times}


def patch_seconds(rounds: int, scans: int = SCANS, patches: int = PATCHES) -> Any:
    """Return the times of a patch by each side."""
    with both_sides(scans) as sides:
        works: dict[str, Work] = {
            "softseg": patch_work(sides.experiment, sides.subjects, patches),
            "nnU-Net": lambda: sides.nnunet.work("load", patches),
        }
        return {"a patch": alternating(rounds, works)}


def patch_work(experiment: Experiment, subjects: Sequence[Subject], patches: int) -> Work:
    """Return the work of sampling patches, with the targets of deep supervision, as in training."""
    names = tuple(subject.name for subject in subjects)
    store = load_store(experiment, subjects, _QUIET)
    _, task = start_training(experiment, PreparedData(Sets(names, names[:1], names[:1]), store))
    assert task.patches is not None
    coarser = torch.Size(length // 2 for length in task.patches.size)
    epochs = iter(range(1, 1_000_000))

    def sample() -> int:
        taken = 0
        while taken < patches:
            epoch = next(epochs)
            augmentation, raters = (seeds.generator(0, name, epoch) for name in ("a", "r"))
            for batch in epoch_batches(task, epoch_samples(task, epoch), augmentation, raters):
                pooled_target(batch, coarser)
                taken += batch.batch_size
        return taken

    return lambda: for_one(sample)


def for_one(work: Callable[[], int]) -> tuple[float, float]:
    """Return CPU time and wall time [s] of a work, divided by the number that it returns."""
    counts: list[int] = []
    cpu, wall = timed(lambda: counts.append(work()))
    return cpu / counts[0], wall / counts[0]


def prediction_seconds(rounds: int) -> Any:
    """Return the times of a prediction by each side: without and with mirroring, by the command."""
    with both_sides(SCANS) as sides:
        run, scan = trained(sides), sides.subjects[0]
        model = open_model(run, "cpu")
        exact = {"softseg, float32": with_precision(model, "float32")}
        works = {
            "a scan": prediction_works(sides, {"softseg": model, **exact}, scan, mirror=False),
            "a scan, mirrored": prediction_works(sides, {"softseg": model}, scan, mirror=True),
            COMMAND: command_works(sides, run, scan),
        }
        return {name: alternating(rounds, own) for name, own in works.items()}


def prediction_works(
    sides: Sides, models: Mapping[str, Model], subject: Subject, *, mirror: bool
) -> dict[str, Work]:
    """Return the work of predicting a scan with each model and with nnU-Net."""
    scan = Scan(subject.name, subject.images, Path())
    out = sides.folder / "softseg"
    works: dict[str, Work] = {}
    for name, model in models.items():
        predict = partial(predict_scans, [with_mirroring(model, mirror)], [scan], out, _QUIET)
        works[name] = partial(timed, predict)
    file = str(raw_image(sides.folder, subject))
    return {**works, "nnU-Net": lambda: sides.nnunet.work("predict", [file], mirror)}


def with_precision(model: Model, precision: Any) -> Model:
    """Return the model with another precision."""
    return replace(model, predictor=replace(model.predictor, precision=precision))


def command_works(sides: Sides, run: Path, subject: Subject) -> dict[str, Work]:
    """Return the works of the commands that predict a scan, without mirroring."""
    file, scans = raw_image(sides.folder, subject), sides.folder / "scans"
    scans.mkdir()
    (scans / file.name).symlink_to(file)
    ours = [sys.executable, "-m", "softseg", "predict", run, subject.first_image]
    theirs = [NNUNET.python(ENVIRONMENTS).parent / "nnUNetv2_predict", "-i", scans]
    theirs += ["-d", "1", "-c", CONFIGURATION, "-f", "0", "-device", "cpu"]
    theirs += ["--disable_tta", "-npp", "0", "-nps", "0"]  # no mirroring, in one process
    variables = {name: str(sides.folder / folder) for name, folder in FOLDERS.items()}
    return {
        "softseg": lambda: call([*ours, "-o", sides.folder / "softseg"], {}),
        "nnU-Net": lambda: call([*theirs, "-o", sides.folder / "nnunet"], variables),
    }


def call(words: Sequence[str | Path], variables: Mapping[str, str]) -> tuple[float, float]:
    """Run a command; return its CPU time and its wall time [s]."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, **variables}
    subprocess.run([str(word) for word in words], check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


@contextmanager
def both_sides(scans: int) -> Iterator[Sides]:
    """Yield both sides with the first `scans` scans of the hippocampus data."""
    torch.set_num_threads(1)
    root = real_data()
    assert root is not None
    subjects = list_subjects(on_cpu("hippocampus_3d.yaml", root), _QUIET)[:scans]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_raw(folder, subjects)
        nnunet = NnUnet(NNUNET.python(ENVIRONMENTS), folder)
        try:
            experiment = on_cpu("hippocampus_3d.yaml", root, *planned_changes(nnunet.plan))
            yield Sides(nnunet, subjects, experiment, folder)
        finally:
            nnunet.close()


def write_raw(folder: Path, subjects: Sequence[Subject]) -> None:
    """Write scans and masks in nnU-Net's raw format."""
    raw = folder / "raw" / DATASET
    for subject in subjects:
        image = nib.load(subject.first_image)
        [mask] = (nib.load(path) for path in subject.labels["hippocampus"].values())
        labels = (np.asarray(mask.dataobj) >= 0.5).astype(np.uint8)
        file = raw_image(folder, subject)
        file.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, file)
        (raw / "labelsTr").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(labels, image.affine), raw / "labelsTr" / f"{subject.name}.nii.gz")
    content = {
        "channel_names": {"0": "T1w"},
        "labels": {"background": 0, "hippocampus": 1},
        "numTraining": len(subjects),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))


def raw_image(folder: Path, subject: Subject) -> Path:
    """Return the file of a scan in nnU-Net's raw format."""
    return folder / "raw" / DATASET / "imagesTr" / f"{subject.name}_0000.nii.gz"


def planned_changes(plan: Plan) -> list[str]:
    """Return the changes of a configuration that give it nnU-Net's network, patches and batches.

    nnU-Net's axes are Z, Y, X.
    """
    network = plan["architecture"]["arch_kwargs"]
    features = network["features_per_stage"]
    _, *strides = (list(reversed(stride)) for stride in network["strides"])
    kernels = [list(reversed(kernel)) for kernel in network["kernel_sizes"]]
    model = {
        "name": "unet3d",
        "depth": len(features) - 1,
        "filters": features[0],
        "max_filters": max(features),
        "strides": strides,
        "kernels": kernels,
        "deep_supervision": len(strides) >= 3,
        "head": {"name": "sigmoid", "prior": 0.03},
    }
    return [
        f"model={json.dumps(model)}",
        f"patches.size={list(reversed(plan['patch_size']))}",
        f"trainer.batch_size={plan['batch_size']}",
        # nnU-Net centers this part of each batch of two
        "trainer.oversample_foreground=0.5",
        "augment=[{preset: nnunet_3d}]",
        "trainer.precision=auto",
        "trainer.threads=1",
        "trainer.max_epochs=1",
    ]


def trained(sides: Sides) -> Path:
    """Train softseg's network for one step, so that a run exists; return its folder."""
    [first, second, *_] = sides.subjects
    names = (first.name,), (second.name,), (second.name,)
    store = load_store(sides.experiment, [first, second], _QUIET)
    prepared = PreparedData(Sets(*names), store)
    return train(sides.experiment, sides.folder / "run", _QUIET, prepared=prepared).folder
