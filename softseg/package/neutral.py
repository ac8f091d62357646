"""An experiment without places, people and machines: what may leave with a model."""

from __future__ import annotations

from softseg.config.experiment import Experiment
from softseg.config.trainer import Trainer
from softseg.data.loaders.files import FilesDataset
from softseg.data.raters import Raters
from softseg.data.targets import Target


def neutral(experiment: Experiment) -> Experiment:
    """The same experiment on files nobody has, divided at random, on whatever machine there is.

    All that the network's input and output depend on stays. What names folders, files, subjects,
    centers, raters or a device is left out: only what is listed here is taken over, so a key that
    a later version adds cannot leak.
    """
    return Experiment(
        name=experiment.name,
        seed=experiment.seed,
        dataset=_dataset(experiment),
        preprocess=experiment.preprocess,
        slices=experiment.slices,
        augment=experiment.augment,
        model=experiment.model,
        loss=experiment.loss,
        trainer=_trainer(experiment.trainer),
        evaluate=experiment.evaluate,
    )


def _dataset(experiment: Experiment) -> FilesDataset:
    known = experiment.dataset
    targets = {
        name: Target(values=target.values, label=f"{{subject}}/mask-{name}.nii.gz")
        for name, target in known.targets.items()
    }
    return FilesDataset(
        root="data",
        image="{subject}/image-{contrast}.nii.gz",
        roi="{subject}/roi.nii.gz" if known.roi is not None else None,
        contrasts=known.contrasts,
        targets=targets,
        raters=Raters(fusion=known.raters.fusion if known.raters.chosen is None else "majority"),
        on_grid_mismatch=known.on_grid_mismatch,
        cache=None,
    )


def _trainer(trainer: Trainer) -> Trainer:
    # bf16 suited the training's machine; the graph of --onnx computes in float32 everywhere
    machine = {"device": "auto", "threads": None, "precision": "float32", "memory_format": "auto"}
    return trainer.model_copy(update=machine)


def how_fused(raters: Raters) -> str:
    """How raters' masks became one, without their names."""
    if raters.chosen is not None:
        return "one rater's masks"
    return f"{raters.fusion} of raters{', weighted' if raters.weights else ''}"
