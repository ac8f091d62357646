"""The experiment in a package: without local paths, without names, for any machine."""

from __future__ import annotations

from softseg.config.experiment import Experiment
from softseg.data.loaders.files import FilesDataset
from softseg.data.raters import Raters
from softseg.data.targets import Target


def anonymize(experiment: Experiment) -> Experiment:
    """Return the experiment with placeholders for its files, and with the default split.

    Everything that the network's input and output depend on is kept. Names of folders, files,
    subjects, centers, raters and devices are left out: only the keys listed here are copied, so a
    key that a later version adds cannot leak.
    """
    dataset, raters = experiment.dataset, experiment.dataset.raters
    targets = {
        name: Target(values=target.values, label=f"{{subject}}/mask-{name}.nii.gz")
        for name, target in dataset.targets.items()
    }
    placeholder = FilesDataset(
        root="data",
        image="{subject}/image-{contrast}.nii.gz",
        roi="{subject}/roi.nii.gz" if dataset.roi is not None else None,
        contrasts=dataset.contrasts,
        targets=targets,
        raters=Raters(fusion=raters.fusion if raters.chosen is None else "majority"),
        on_grid_mismatch=dataset.on_grid_mismatch,
        cache=None,
    )
    # bf16 suited the training's machine; the graph of --onnx computes in float32 everywhere
    hardware = {"device": "auto", "threads": None, "precision": "float32", "memory_format": "auto"}
    return Experiment(
        name=experiment.name,
        seed=experiment.seed,
        dataset=placeholder,
        preprocess=experiment.preprocess,
        slices=experiment.slices,
        augment=experiment.augment,
        model=experiment.model,
        loss=experiment.loss,
        trainer=experiment.trainer.model_copy(update=hardware),
        evaluate=experiment.evaluate,
    )
