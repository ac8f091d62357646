"""An ablation as its YAML says it: an experiment, candidates that differ from it, and splits."""

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
from softseg.config.merge import with_locations
from softseg.config.overrides import apply_differences
from softseg.config.yaml.tree import ConfigTree
from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.data import Split
from softseg.metrics.significance import Method
from softseg.runs.plan_file import NAME

_TAKEN = ("figures", "tables", "report.html", "ablation.yaml", "plan.json")
_SHARED = ("name", "seed", "split", "extends")


class Cluster(Component):
    """What one run asks of a Ray cluster (`softseg ablate --cluster`)."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    """CPUs a run; null: trainer.threads, or 1."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs a run; 0.25 puts four runs on one GPU."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How often a run is started again, from its last checkpoint, when its node dies."""


Name = Annotated[str, Field(pattern=f"^{NAME}$")]


class Ablation(Experiment):
    """An experiment done by several candidates on the same splits and with the same seeds."""

    candidates: Annotated[dict[Name, dict[str, Any] | None], Field(min_length=1)]
    """Candidate -> its differences from this experiment, as a file that extends it would write
    them; a key may be dotted to reach into lists (`augment.1.binarize.threshold: 0.4`). {} is the
    experiment itself."""
    splits: Scheme
    """The splits, the same for all candidates: random | kfold | leave_one_out | fixed. They take
    the place of `split`; the runs of split k have the seed `seed` + k."""
    reference: str | None = None
    """The candidate that the others are compared with; null: the first."""
    wilcoxon: Method = "auto"
    """How the signed-rank test gets its p: auto (exact for few pairs without ties) | exact | approx
    (normal, continuity corrected) | paper (normal, not corrected: the published analysis)."""
    cluster: Cluster = Cluster()
    """What one run asks of a Ray cluster."""
    split: Annotated[SkipJsonSchema[Split], Field(exclude=True)] = Split()
    """Of each run, drawn by `splits`; not written here."""

    @field_validator("candidates")
    @classmethod
    def _names_differ(cls, candidates: dict[str, Any]) -> dict[str, Any]:
        seen: dict[str, str] = {}
        for name in candidates:
            if name.lower() in _TAKEN:
                raise ValueError(f"a candidate cannot be named {name}: its folder lies beside that")
            if (other := seen.setdefault(name.lower(), name)) != name:
                raise ValueError(f"{other} and {name} would share a folder; rename one")
        return candidates

    @field_validator("reference")
    @classmethod
    def _reference_is_there(cls, reference: str | None, info: ValidationInfo) -> str | None:
        there = info.data.get("candidates", {})  # not there where they are wrong themselves
        if reference is not None and there and reference not in there:
            raise ValueError(f"no candidate `{reference}`; there are {', '.join(there)}")
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
    """Read an ablation; `sets` are `key=value` changes of it, so of every candidate.

    Raises `UserError` with file, line and key for whatever is wrong in it or in a candidate.
    """
    tree = load_tree(path, sets)
    if not is_ablation(tree):
        raise UserError(f"{path}: has no candidates, so it is no ablation; softseg train takes it")
    _check_no_split(tree, path)
    whole = {key: value for key, value in tree.data.items() if key != "split"}
    tree = with_locations(whole, tree, tree)
    ablation = validate(tree, Ablation)
    experiments = {name: _candidate(tree, name) for name in ablation.candidates}
    return Design(ablation, experiments)


def _candidate(tree: ConfigTree, name: str) -> Experiment:
    """The experiment of one candidate."""
    base = {key: value for key, value in tree.data.items() if key in Experiment.model_fields}
    differences = tree.subtree(("candidates", name))
    for key in differences.data or {}:
        if key.split(".")[0] in _SHARED:
            message = "is the same for all candidates, so that they can be compared; set it outside"
            raise UserError(tree.problem(("candidates", name, key), message))
    return validate(
        apply_differences(ConfigTree({**base, "name": name}, tree.locations), differences),
        Experiment,
    )


def _check_no_split(tree: ConfigTree, path: Path) -> None:
    """A `split` of the file that the ablation extends is passed over; one of its own misleads."""
    for key, location in tree.locations.items():
        own = location.source == str(path) or location.source.startswith("--set")
        if own and key[:1] == ("split",):
            raise UserError(tree.problem(key, "an ablation has `splits` in its place; remove this"))
