"""The first lines of a run: what is trained on which data, and how soft it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from softseg import augment
from softseg.augment import Batch, Binarize
from softseg.config.experiment import Experiment
from softseg.core import seeds
from softseg.core.memory import GIB
from softseg.data import Sets
from softseg.data.masks import Counts, count_soft
from softseg.data.subject import count_scans
from softseg.datasets.phantom import is_phantom
from softseg.preprocess.store import StoredVolume, VolumeStore
from softseg.runs.data import PreparedData
from softseg.training.fine_tuning import FineTuning
from softseg.training.patches import PatchSampler, cut_patches
from softseg.training.task import State


def summarize(
    experiment: Experiment,
    prepared: PreparedData,
    state: State,
    fine_tuning: FineTuning | None = None,
    near: VolumeStore | None = None,
) -> str:
    """The summary printed before training, one topic per line.

    `near` holds the slices on the device, if they fit there; None: on a CPU.
    """
    trainer, model = experiment.trainer, experiment.model
    parameters = sum(p.numel() for p in state.model.parameters())
    frozen = ""
    if experiment.init_from and (blocks := experiment.init_from.frozen_blocks):
        trained = sum(p.numel() for p in state.model.parameters() if p.requires_grad)
        frozen = f" ({trained:,} train, frozen blocks: {blocks})"
    epochs = f"epochs    {trainer.max_epochs} at most"
    left_out = augment.interpolating_names(experiment.augment)
    if left_out and (last := trainer.uninterpolated_epochs):
        epochs += f", the last {last} without {left_out}"
    return "\n".join(
        [
            f"{experiment.name}: {trainer.device}, {trainer.threads} "
            f"thread{'s' * (trainer.threads != 1)}, {trainer.precision}",
            *summarize_data(experiment, prepared.sets, prepared.store, prepared.persons),
            *_slices_line(trainer.device, near),
            f"network   {model.name}, {parameters:,} parameters{frozen}, head {model.head.name}, "
            f"loss {experiment.loss.name}",
            *(fine_tuning.summary() if fine_tuning else []),
            f"{epochs}, resuming with epoch {state.epoch + 1}" if state.epoch else epochs,
        ]
    )


def _slices_line(device: str, near: VolumeStore | None) -> list[str]:
    """Return in whose memory the slices are; no line for a training on the CPU."""
    if device == "cpu" or near is None:
        return []
    name = "volumes " if near.holds_volumes else "slices  "
    size = f"{name}  {near.n_bytes / GIB:.1f} GiB"
    if near.image.device.type != "cpu":
        return [f"{size} on {device}"]
    return [f"{size} in the computer's memory: {device} has no room for them next to the training"]


def summarize_data(
    experiment: Experiment,
    sets: Sets,
    store: VolumeStore,
    persons: Mapping[str, str] | None = None,
) -> list[str]:
    """Subjects and slices, softness after every stage, and the Dice that the geometry allows.

    `persons` has the person of each subject, if known.
    """
    members = {"training": sets.train, "validation": sets.validation, "test": sets.test}
    kind = "volume" if store.holds_volumes else "slice"
    samples = {name: len(store.rows(names)) for name, names in members.items()}
    counts = " · ".join(
        f"{name} {count_scans(names, persons or {})}, {samples[name]} {kind}"
        + "s" * (samples[name] != 1)
        for name, names in members.items()
    )
    root = experiment.dataset.root
    lines = [f"phantom   {root} holds SYNTHETIC data"] if is_phantom(Path(root)) else []
    lines += [
        f"data      {counts}, {_size_of(experiment, store)}",
        f"softness  {softness_line(experiment, sets, store)}",
        *geometry_lines(store.volumes, list(experiment.dataset.targets)),
    ]
    return lines + _ignored_lines(experiment, sets, store) + _weight_lines(experiment, sets, store)


def _size_of(experiment: Experiment, store: VolumeStore) -> str:
    """Return the size of slices, or of volumes and of the patches that are cut from them."""
    if not store.holds_volumes:
        height, width = store.image.shape[2:]
        return f"{height} x {width} pixels"
    shapes = [volume.geometry.network.shape for volume in store.volumes]
    ends = [sorted({min(sides), max(sides)}) for sides in zip(*shapes, strict=True)]
    ranges = " x ".join("-".join(map(str, end)) for end in ends)
    patches = experiment.patches
    assert patches.size is not None
    per_volume = f"{patches.per_volume} patches" if patches.per_volume > 1 else "a patch"
    size = " x ".join(map(str, patches.size))
    return f"{ranges} voxels; in an epoch {per_volume} of {size} of each training volume"


def _ignored_lines(experiment: Experiment, sets: Sets, store: VolumeStore) -> list[str]:
    """Return the share of ignored voxels of each target; no line if nothing can be ignored."""
    if not store.ignore.shape[1]:
        return []
    members = store.volumes_of(sets.train)
    voxels = sum(store.part("image", v)[:, 0].numel() for v in members)
    sums = torch.stack([_over_voxels(store.part("ignore", v), torch.sum) for v in members])
    shares = (100 * sums.sum(dim=0) / voxels).tolist()
    targets = zip(experiment.dataset.targets, shares, strict=True)
    listed = ", ".join(f"{target} {share:.1f} %" for target, share in targets)
    what = "no loss and no metric there"
    if any(target.confidence for target in experiment.dataset.targets.values()):
        what = "no loss there (codes to ignore, and confidence 0)"
    return [f"ignored   {listed} of the voxels of training subjects: {what}"]


def _weight_lines(experiment: Experiment, sets: Sets, store: VolumeStore) -> list[str]:
    """Return the mean weight of targets with a map of confidence; no line if none has one."""
    targets = experiment.dataset.targets
    members = store.volumes_of(sets.train)
    if not any(target.confidence for target in targets.values()):
        return []
    means = torch.stack([_mean_weights(store, volume) for volume in members]).mean(dim=0).tolist()
    pairs = zip(targets.items(), means, strict=True)
    listed = ", ".join(f"{name} {mean:.3g}" for (name, target), mean in pairs if target.confidence)
    return [f"weights   {listed}: mean confidence of the training subjects, in the loss only"]


def _mean_weights(store: VolumeStore, volume: StoredVolume) -> torch.Tensor:
    """Return the mean weight of a volume's voxels for each target, (K,); 0 for ignored ones."""
    weight, ignore = store.part("weight", volume), store.part("ignore", volume)
    weight = weight if weight.shape[1] else torch.ones_like(store.part("target", volume))
    weight = weight.masked_fill(ignore > 0, 0) if ignore.shape[1] else weight
    return _over_voxels(weight, torch.mean)


def _over_voxels(values: torch.Tensor, reduce: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Reduce values (S, K, *spatial) to one for each target, (K,)."""
    return reduce(values, dim=(0, *range(2, values.dim())))


def softness_line(experiment: Experiment, sets: Sets, store: VolumeStore) -> str:
    """Percentage of soft voxels (of those above 0) after every stage of the training data."""
    totals: dict[str, Counts] = {}
    for volume in store.volumes_of(sets.train):
        for stage, (soft, positive) in volume.statistics.soft_counts.items():
            soft_sum, positive_sum = totals.get(stage, (0, 0))
            totals[stage] = (soft_sum + soft, positive_sum + positive)
    percentages = {stage: _percent(counts) for stage, counts in totals.items()}
    percentages |= _percent_by_augmentation(experiment, sets, store)
    chain = " -> ".join(f"{stage} {percentage:.1f} %" for stage, percentage in percentages.items())
    binarize = [step for step in experiment.augment if isinstance(step, Binarize)]
    fate = f"BINARIZED at {binarize[-1].threshold}" if binarize else "not binarized"
    is_random = experiment.dataset.raters.fusion == "random"
    rater = (
        f", one random rater per {'patch' if store.holds_volumes else 'slice'} and epoch"
        if is_random
        else ""
    )
    return f"soft voxels of those above 0: {chain}; the ground truth is {fate}{rater}"


def _percent(counts: Counts) -> float:
    soft, positive = counts
    return 100 * soft / positive if positive else 0.0


def _percent_by_augmentation(
    experiment: Experiment, sets: Sets, store: VolumeStore
) -> dict[str, float]:
    """The same percentage after each augmentation step, on some training slices or patches."""
    batch = _some_samples(experiment, sets, store)
    generator = seeds.generator(experiment.seed, "header")
    percentages: dict[str, float] = {}
    for step in experiment.augment:
        batch = augment.augment(batch, [step], generator)
        again = " again" * sum(name.split()[0] == step.name for name in percentages)
        percentages[step.name + again] = _percent(count_soft([batch.target.numpy()]))
    return percentages


def _some_samples(experiment: Experiment, sets: Sets, store: VolumeStore) -> Batch:
    """A batch of up to 64 training slices, or of patches of up to 4 training volumes."""
    rows = store.rows(sets.train)
    most = 4 if store.holds_volumes else 64
    rows = rows[torch.linspace(0, len(rows) - 1, min(most, len(rows))).long()]
    if store.holds_volumes:
        sampler = PatchSampler.of(experiment.patches, store, with_foreground=False)
        places = sampler.places(rows, None, seeds.generator(experiment.seed, "header"))
        batch = cut_patches(store, places, sampler.size)
    else:
        batch = Batch(store.image[rows], store.target[rows], store.fill[rows])
    return replace(
        batch.map_tensors(Tensor.cpu),
        spacing=store.spacings(experiment.samples)[rows],
        target_names=tuple(experiment.dataset.targets),
    )


def geometry_lines(volumes: Sequence[StoredVolume], targets: Sequence[str]) -> list[str]:
    """For each target, the best Dice that the resolution allows and the percentage in the crop."""
    lines = []
    for k, target in enumerate(targets):
        # NaN, which is not >= 0, is the value of an empty mask
        statistics = {v.subject: v.statistics for v in volumes}
        ceilings = {n: s.dice_ceiling[k] for n, s in statistics.items() if s.dice_ceiling[k] >= 0}
        kept = {n: 100 * s.kept_share[k] for n, s in statistics.items() if s.kept_share[k] >= 0}
        if not ceilings:
            continue
        lowest, least = min(ceilings, key=ceilings.__getitem__), min(kept, key=kept.__getitem__)
        # the worst scan is named only if there is one
        worst = f", {ceilings[lowest]:.1f} % lowest ({lowest})" if ceilings[lowest] < 99.95 else ""
        fewest = f", {kept[least]:.1f} % at least ({least})" if kept[least] < 99.95 else ""
        lines.append(
            f"geometry  {target}: Dice ceiling {mean(ceilings.values()):.1f} % mean{worst}; "
            f"the crop keeps {mean(kept.values()):.1f} % of the mask{fewest}"
        )
    return lines
