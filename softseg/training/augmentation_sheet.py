"""`softseg data augment`: pictures of what the augmentation makes of a slice or a patch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from softseg import augment
from softseg.augment.extremes import extremes
from softseg.augment.random_step import seeded
from softseg.config.experiment import Experiment
from softseg.core.errors import UserError, combined_error
from softseg.core.memory import memory_errors
from softseg.core.names import unknown_name
from softseg.data.splits import Sets
from softseg.data.subject import Subject
from softseg.render.figures.augmentation import Panel, PanelSheet, plot_augmentation
from softseg.render.figures.style import FigureFormat
from softseg.runs.data import PreparedData, check_slice_counts, load_store
from softseg.runs.patch_size import resolve_patches
from softseg.training.batches import collate
from softseg.training.task import Task, build_task

_TIMES = 8  # that the whole chain is drawn
_KINDS = {"steps": 4, "chain": 3}  # file -> panels in a row


@dataclass(frozen=True)
class DrawnSlice:
    """What was drawn, and the files."""

    subject: str
    slice: int  # from 1, of the preprocessed volume
    slices: int
    files: list[Path]


@memory_errors(
    "drawing augmentation",
    "lower preprocess.crop.size or patches.size, or choose another scan with --subject",
)
def draw_augmentation(
    experiment: Experiment,
    folder: Path,
    console: Console,
    subject: str | None = None,
    form: FigureFormat = "png",
    *,
    overwrite: bool = False,
) -> DrawnSlice:
    """Draw `steps.png`, each step alone at its extremes, and `chain.png`, the chain eight times.

    Both show the slice with the most foreground of a subject (default: the first one of the
    training set), as training gets it: preprocessed and, with `standardize: {over: slice}`,
    standardized again after the whole chain. Of a 3D network's patches they show this slice,
    although the whole patch is augmented, and without its neighbors (`slices.neighbors`), which are
    augmented in the same way. `form` is a format in addition to PNG.

    Raises UserError without augmentation, for an unknown subject or one without a slice, and for
    files that exist, unless `overwrite`.
    """
    if not experiment.augment:
        raise UserError(
            "augment has no steps, so there is nothing to draw; add some to the configuration, or "
            "try a preset with --set 'augment=[{preset: light}]'"
        )
    names = [f"{kind}.{ending}" for kind in _KINDS for ending in dict.fromkeys(("png", form))]
    files = [folder / name for name in names]
    existing = [str(file) for file in files if file.exists()]
    if existing and not overwrite:
        heading = "figures exist already; choose another folder with -o, or add --overwrite:"
        raise combined_error(heading, existing)
    chosen, *partners = _choose_subjects(experiment, subject)
    on_cpu = experiment.trainer.model_copy(update={"device": "cpu"})
    experiment = experiment.model_copy(update={"trainer": on_cpu})
    store = load_store(experiment, [chosen, *partners], console)
    check_slice_counts(experiment, store.volumes)
    subjects = tuple(one.name for one in (chosen, *partners))
    prepared = PreparedData(Sets(subjects, (), ()), store)
    experiment = resolve_patches(experiment, prepared)
    task = build_task(experiment, prepared)
    choose = _choose_slice if task.patches is None else _choose_patch
    shown = choose(task, chosen.name)
    place = f"{chosen.name}, slice {shown.number}/{shown.count}"
    panels = {"steps": _step_panels(task, shown), "chain": _chain_panels(task, shown)}
    for kind, columns in _KINDS.items():
        sheet = PanelSheet(
            title=place,
            contrasts=experiment.dataset.contrasts,
            targets=task.targets,
            pixel_mm=experiment.slices.spacing(store.volumes[0].geometry.network),
            panels=panels[kind],
            columns=columns,
        )
        plot_augmentation(sheet, folder / f"{kind}.{form}")
    return DrawnSlice(chosen.name, shown.number, shown.count, files)


def _choose_subjects(experiment: Experiment, name: str | None) -> list[Subject]:
    """Return the subject of this name, or the first one of the training set.

    The next one of the training set follows if `mixup` needs a patch of another volume: with
    patches of the size of volumes, a volume has no others. Slices are mixed with others of theirs.
    """
    subjects = experiment.dataset()
    by_name = {subject.name: subject for subject in subjects}
    if name is not None and name not in by_name:
        raise UserError(f"--subject: {unknown_name('subject', name, by_name)}")
    in_training = set(experiment.split(subjects, experiment.seed).train)
    training = [subject.name for subject in subjects if subject.name in in_training]
    chosen = training[0] if name is None else name
    mixes_patches = experiment.axes == 3 and any(
        isinstance(step, augment.Mixup) for step in experiment.augment
    )
    partners = [other for other in training if other != chosen][: int(mixes_patches)]
    return [by_name[one] for one in (chosen, *partners)]


@dataclass(frozen=True)
class _Shown:
    """The slice that is drawn, of a sample."""

    sample: Tensor  # (), the row of a slice, or (4,), the place of a patch
    others: Tensor  # (N, ...), other samples, which `mixup` adds
    number: int  # from 1
    count: int  # slices of the volume
    plane: tuple[int, int] | None = None  # of a patch: across which axis, and its index there

    def panel(self, caption: str, batch: augment.Batch, sample: int = 0) -> Panel:
        """Return the slice of a sample of a batch as a panel."""
        ignore = None if batch.ignore is None else self._slice(batch.ignore[sample].amax(0)[None])
        image = batch.image[sample].tensor_split(batch.slices)[batch.slices // 2]
        return Panel(
            caption,
            self._slice(image).numpy(),
            self._slice(batch.target[sample]).numpy(),
            None if ignore is None else ignore[0].numpy() > 0,
        )

    def _slice(self, values: Tensor) -> Tensor:
        """Return the slice (C, H, W) of values (C, *spatial)."""
        if self.plane is None:
            return values
        axis, index = self.plane
        return values.select(axis + 1, index)


def _choose_slice(task: Task, subject: str) -> _Shown:
    """Return the kept slice with the most foreground, and the others, those with most first.

    Without foreground it is the middle one.
    """
    store = task.stack
    rows = store.rows([subject])
    if not len(rows):
        raise UserError(
            f"slices.exclude excludes every slice of {subject}; choose another one with --subject"
        )
    [volume] = store.volumes_of([subject])
    foreground = store.truth_of(volume)[rows - volume.start].sum(dim=(1, 2, 3))
    order = rows[foreground.argsort(descending=True, stable=True)]
    row = order[0] if foreground.any() else rows[len(rows) // 2]
    return _Shown(row, order[order != row], int(row) + 1, len(store.keep))


def _choose_patch(task: Task, subject: str) -> _Shown:
    """Return the patch around the fullest planes across each axis, and random ones to mix it with.

    It is drawn in the plane across the main axis. Without foreground it is the middle of the scan.
    """
    store, sampler = task.stack, task.patches
    assert sampler is not None
    [volume] = store.volumes_of([subject])
    truth = store.truth_of(volume)[0].sum(dim=0)
    voxel = torch.tensor(truth.shape) // 2
    if truth.any():
        sums = [truth.sum(dim=[other for other in range(3) if other != axis]) for axis in range(3)]
        voxel = torch.stack([values.argmax() for values in sums])
    place = sampler.place_around(volume.start, voxel)
    partner = next((v for v in store.volumes if v.subject != subject), volume)
    others = sampler.places(torch.tensor([partner.start] * _TIMES), None, seeded(task.seed))
    axis = task.main_axis
    index = int(voxel[axis])
    plane = (axis, index - int(place[axis + 1]))
    return _Shown(place, others, index + 1, truth.shape[axis], plane)


def _step_panels(task: Task, shown: _Shown) -> list[Panel]:
    """Return the unchanged slice, and each step at its extremes."""
    samples = torch.cat([shown.sample[None], shown.others[:1]])
    batch = collate(task, samples, seeded(task.seed))
    panels = [shown.panel("unchanged", batch)]
    for number, step in enumerate(task.augment, start=1):
        for text, result in extremes(step, batch):
            panels.append(shown.panel(f"{number}. {step.name}\n{text}", result))
    return panels


def _chain_panels(task: Task, shown: _Shown) -> list[Panel]:
    """Return the unchanged slice, and eight results of the whole chain."""
    partners = shown.others[: _TIMES if task.mixes_samples else 0]
    samples = torch.cat([shown.sample[None]] * _TIMES + [partners])
    batch = collate(task, samples, seeded(task.seed))
    unchanged = batch.map_tensors(Tensor.clone)
    augmented = augment.augment(batch, task.augment, seeded(task.seed))
    if task.restandardize:
        unchanged = augment.restandardize(unchanged, task.restandardize)
        augmented = augment.restandardize(augmented, task.restandardize)
    panels = [shown.panel(f"sample {k + 1}", augmented, k) for k in range(_TIMES)]
    return [shown.panel("unchanged", unchanged), *panels]
