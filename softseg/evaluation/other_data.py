"""Scans of another dataset than that of a run, all of which are tested."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softseg.config.experiment import Experiment
from softseg.config.load import load_config, load_tree, validate
from softseg.config.merge import with_locations
from softseg.config.shipped import find_config
from softseg.config.yaml.tree import ConfigTree
from softseg.core.errors import UserError, combined_error
from softseg.core.names import unknown_name
from softseg.data import read_split
from softseg.data.splits import SETS
from softseg.runs.folder import Run


@dataclass(frozen=True)
class OtherData:
    """A dataset that a run is tested on in addition to its own."""

    name: str
    """In the names of files: `metrics-<name>.csv`, `predictions-<name>/`."""
    source: str
    """The YAML file or the folder, as it was given."""
    experiment: Experiment
    """That of the run with the other dataset."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What run.json and the sidecars of predictions record."""
        root = self.experiment.dataset.existing_root().resolve()
        return {"Name": self.name, "Source": self.source, "Root": str(root)}


def find_other_data(source: Path) -> Path:
    """Return the file or folder that `--data` means; it may mean a configuration of softseg."""
    if source.exists():
        return source
    try:
        return find_config(source)
    except UserError:
        return source  # which is no folder either: `read_other_data` says so


def read_other_data(
    source: Path, run: Run, experiment: Experiment, changes: Sequence[str] = ()
) -> OtherData:
    """Return the dataset of a YAML file, or that of the run's loader in another folder.

    A YAML file is an experiment of which only `name` and `dataset` are used, or has only these. In
    a folder all subjects are used: `include` and `exclude` of the run are for its own dataset.
    `changes` are `key=value` changes of the section `dataset`. Raises UserError for any other
    source, and for other contrasts or targets than those of the run.
    """
    if source.is_dir():
        own, dataset = experiment.dataset, load_config(run.config, Experiment, changes).dataset
        if dataset.root != own.root:
            raise UserError(f"--data {source} and dataset.root cannot be combined; give one folder")
        everything: dict[str, Any] = {"root": str(source)}
        everything |= {"include": {}} if dataset.include == own.include else {}
        everything |= {"exclude": ()} if dataset.exclude == own.exclude else {}
        dataset = dataset.model_copy(update=everything)
        name = source.resolve().name
    elif source.is_file():
        tree = load_tree(source, changes)
        dataset = _validated(tree, experiment).dataset
        name = str(tree.data.get("name", source.stem))
    else:
        raise UserError(f"--data {source}: there is no such YAML file or folder")
    for key, trained, other in (
        ("contrasts", experiment.dataset.contrasts, dataset.contrasts),
        ("targets", tuple(experiment.dataset.targets), tuple(dataset.targets)),
    ):
        if trained != other:
            raise UserError(
                f"--data {source}: dataset.{key} are {', '.join(other)}, but the run was trained "
                f"with {', '.join(trained)}; name the same, in this order"
            )
    # both are for training; masks of other data may not even be fit for softening, or have maps
    unused = {"soften": None, "confidence": None}
    targets = {name: t.model_copy(update=unused) for name, t in dataset.targets.items()}
    dataset = dataset.model_copy(update={"targets": targets})
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"
    plain = f"{plain}-data" if plain.lower() in SETS else plain  # not a set of the run itself
    return OtherData(plain, str(source), experiment.model_copy(update={"dataset": dataset}))


def _validated(tree: ConfigTree, experiment: Experiment) -> Experiment:
    """Return the experiment of a run with the section `dataset` of another YAML file."""
    for key in tree.data:
        if key not in (*Experiment.model_fields, "candidates", "splits", "reference", "wilcoxon"):
            message = unknown_name("section", str(key), list(Experiment.model_fields))
            raise UserError(tree.problem((key,), message))
    if "dataset" not in tree.data:
        raise UserError(f"{tree.location(())}: has no section `dataset`, which --data needs")
    data = {**experiment.model_dump(mode="json"), "dataset": tree.data["dataset"]}
    return validate(with_locations(data, tree, tree), Experiment)


def check_name(data: OtherData, run: Run) -> None:
    """Raise UserError if the scores of a dataset in another folder already have this name."""
    earlier = run.metadata().get("other_data", {}).get(data.name)
    if earlier and earlier["Root"] != data.metadata["Root"]:
        raise UserError(
            f"{run.folder} has scores of {earlier['Root']} under the name {data.name}; write a "
            "YAML file with another `name` and the section `dataset`, and give it as --data"
        )


def check_not_trained_on(
    run: Run, data: OtherData, digests: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Return a line for each subject with an image of the run's training or validation set.

    `digests`: subject -> digests of its images. Raises UserError with these lines, unless
    `split.allow_leak` is set.
    """
    metadata, sets = run.metadata(), read_split(run.split)
    learned: dict[str, str] = dict.fromkeys(
        metadata.get("init_from", {}).get("trained_on") or (), "a training scan of init_from"
    )
    for name in (*sets.train, *sets.validation):
        learned |= dict.fromkeys(metadata.get("image_digests", {}).get(name, ()), name)
    leaks = []
    for subject, own in digests.items():
        if copies := sorted({learned[digest] for digest in own if digest and digest in learned}):
            leaks.append(f"{subject}: identical in every voxel to {', '.join(copies)}")
    if leaks and not data.experiment.split.allow_leak:
        raise combined_error(
            f"{len(leaks)} subject(s) of {data.source} were used in training, so their scores "
            "would be too good; leave them out with dataset.exclude, or set split.allow_leak: true "
            "if it is intended:",
            leaks,
        )
    return tuple(leaks)
