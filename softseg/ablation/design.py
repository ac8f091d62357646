"""The YAML of an ablation: an experiment, candidates that differ from it, and splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from softseg.ablation.schemes import Scheme
from softseg.config.experiment import Experiment
from softseg.config.load import is_ablation, load_tree, validate
from softseg.config.merge import apply_differences, with_locations
from softseg.config.yaml.tree import ConfigTree
from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.data import Split
from softseg.metrics.significance import Method
from softseg.runs.plan_file import CANDIDATE_NAME

_RESERVED_NAMES = ("figures", "tables", "report.html", "ablation.yaml", "plan.json")
_SHARED_KEYS = ("name", "seed", "split", "extends")


class Cluster(Component):
    """Resources of one run on a Ray cluster (`softseg ablate --cluster`)."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    """CPUs per run; null: trainer.threads, or 1."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs per run; 0.25 puts four runs on one GPU."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How often a run is restarted from its last checkpoint when its node dies."""


Name = Annotated[str, Field(pattern=f"^{CANDIDATE_NAME}$")]


class Ablation(Experiment):
    """An experiment run by several candidates on the same splits and with the same seeds."""

    candidates: Annotated[dict[Name, dict[str, Any] | None], Field(min_length=1)]
    """Candidate -> its differences from this experiment, written as in a file that extends it; a
    dotted key reaches into lists (`augment.1.binarize.threshold: 0.4`). {} is the experiment
    itself."""
    splits: Scheme
    """The splits of all candidates: random | kfold | leave_one_out | fixed. They replace `split`;
    the runs of split k have the seed `seed` + k."""
    reference: str | None = None
    """The candidate with which the others are compared; null: the first."""
    wilcoxon: Method = "auto"
    """How the signed-rank test computes p: auto (exact for few pairs without ties) | exact | approx
    (normal, with continuity correction) | paper (normal, without it, as in the paper)."""
    cluster: Cluster = Cluster()
    """Resources of one run on a Ray cluster."""
    split: Annotated[SkipJsonSchema[Split], Field(exclude=True)] = Split()
    """The split of a run, which `splits` decides; not a key of an ablation's YAML."""

    @field_validator("candidates")
    @classmethod
    def _check_folder_names(cls, candidates: dict[str, Any]) -> dict[str, Any]:
        """Every candidate needs a folder of its own, also where case is ignored."""
        seen: dict[str, str] = {}
        for name in candidates:
            if name.lower() in _RESERVED_NAMES:
                raise ValueError(
                    f"a candidate cannot be named {name}: the ablation's folder has a file or "
                    "folder of that name"
                )
            if (other := seen.setdefault(name.lower(), name)) != name:
                raise ValueError(f"{other} and {name} would share a folder; rename one")
        return candidates

    @field_validator("reference")
    @classmethod
    def _check_reference(cls, reference: str | None, info: ValidationInfo) -> str | None:
        candidates = info.data.get("candidates", {})  # missing if they are invalid themselves
        if reference is not None and candidates and reference not in candidates:
            raise ValueError(f"no candidate `{reference}`; candidates are {', '.join(candidates)}")
        return reference

    @property
    def compared_with(self) -> str:
        """The reference candidate."""
        return self.reference or next(iter(self.candidates))


@dataclass(frozen=True)
class Design:
    """An ablation and the experiment of each of its candidates."""

    ablation: Ablation
    experiments: dict[str, Experiment]


def load_design(path: Path, sets: Sequence[str] = ()) -> Design:
    """Read an ablation; `sets` are `key=value` changes to it, hence to every candidate.

    Raises `UserError` with file, line and key for every mistake in it or in a candidate.
    """
    tree = load_tree(path, sets)
    if not is_ablation(tree):
        raise UserError(
            f"{path}: no `candidates`, so it is not an ablation; use softseg train for it"
        )
    for key, location in tree.locations.items():
        # a `split` of the file that the ablation extends is ignored; one of its own would mislead
        own = location.source == str(path) or location.source.startswith("--set")
        if own and key[:1] == ("split",):
            raise UserError(tree.problem(key, "an ablation has `splits` instead; remove this key"))
    data = {key: value for key, value in tree.data.items() if key != "split"}
    tree = with_locations(data, tree, tree)
    ablation = validate(tree, Ablation)
    experiments = {name: _candidate_experiment(tree, name) for name in ablation.candidates}
    return Design(ablation, experiments)


def _candidate_experiment(tree: ConfigTree, name: str) -> Experiment:
    """The ablation's experiment with the differences of one candidate."""
    base = {key: value for key, value in tree.data.items() if key in Experiment.model_fields}
    differences = tree.subtree(("candidates", name))
    for key in differences.data or {}:
        if key.split(".")[0] in _SHARED_KEYS:
            message = "must be the same for all candidates; set it outside of `candidates`"
            raise UserError(tree.problem(("candidates", name, key), message))
    own = apply_differences(ConfigTree({**base, "name": name}, tree.locations), differences)
    return validate(own, Experiment)
