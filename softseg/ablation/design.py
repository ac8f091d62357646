"""The YAML file of an ablation: an experiment, candidates that differ from it, and splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from softseg.config.experiment import Experiment
from softseg.config.load import is_ablation, load_tree, validate
from softseg.config.merge import apply_differences, with_locations
from softseg.config.yaml.tree import ConfigTree
from softseg.core.component import Component, check_distinct
from softseg.core.errors import UserError
from softseg.data import Split, Subject
from softseg.data.splits import GroupSelection, Missing, Values, group_by, require_groups
from softseg.metrics.significance import Method
from softseg.runs.plan_file import CANDIDATE_NAME

Count = Annotated[int, Field(ge=1)]
_SEEDS_APART = 10_000


def run_seed(seed: int, k: int) -> int:
    """Return the seed of number `k` (from 0) of an ablation's runs, or of its shuffles.

    Ablations with different seeds share none: those of seed 0 are 0, 1 .., those of seed 1 are
    10000, 10001 ..
    """
    return seed * _SEEDS_APART + k


class GroupScheme(Component):
    """The fields of every scheme that samples its sets; they mean the same as in `split`."""

    by: str = "subject"
    """Column whose values are kept together: subject (a person, with all sessions), center,
    session, or any column of participants.tsv or of dataset.table."""
    validation: GroupSelection | None = None
    """Validation groups, of those outside the test set: a fraction (of all groups; with `within`,
    of the remaining groups), a number, or a list of values; at least one. null: 0.2."""
    within: str | None = None
    """Column by which the subjects outside the test set are divided into training and validation;
    null: `by`."""
    missing: Missing = "error"
    """What to do with subjects whose value of `by` or `within` is missing: error | exclude (they
    are in no set) | train (they are in the training set)."""
    allow_leak: bool = False
    """Whether a person, or the same image under two names, may be in two sets of a split."""

    _distinct = field_validator("validation", "test", "values", check_fields=False)(check_distinct)

    def split(self, **of_scheme: Any) -> Split:
        """Return a split with these fields and those of the scheme."""
        shared = {name: getattr(self, name) for name in GroupScheme.model_fields}
        return Split(**shared, **of_scheme)


class RandomSplits(GroupScheme):
    """Independent random splits (the paper's MS and brain tumor experiments, section 2.4.1)."""

    name: Literal["random"]
    repeats: Count
    """Number of splits."""
    test: GroupSelection = 0.2
    """Test groups of each split: a fraction of all groups, a number, or a list of values; at least
    one."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """Return one split per repeat; each is sampled with the seed of its own runs."""
        return [self.split(test=self.test)] * self.repeats


class KFold(GroupScheme):
    """k-fold cross-validation: every subject is tested once per repeat."""

    name: Literal["kfold"]
    folds: Annotated[int, Field(ge=2)]
    """Number of shuffled parts of nearly equal size; each is the test set once."""
    repeats: Count = 1
    """How often the subjects are shuffled again."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """Return all folds of all repeats; the folds of a repeat share one shuffle, so one seed."""
        return [
            self.split(folds=self.folds, fold=fold, seed=run_seed(seed, repeat))
            for repeat in range(self.repeats)
            for fold in range(self.folds)
        ]


class LeaveOneOut(GroupScheme):
    """Each group is the test set in turn, like the paper's centers: 40 = 4 x 10 (section 2.4.1)."""

    name: Literal["leave_one_out"]
    by: str = "center"
    """Column of which one value at a time is left out, e.g. center."""
    values: Values | None = None
    """The values to leave out; null: all."""
    repeats: Count = 1
    """How often each value is left out; every repeat samples its validation set again."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """Return one split per value and repeat.

        Repeats are the outer loop, so that the first N splits cover the values evenly for any N.
        """
        groups = group_by(subjects, self.by, "splits.by")
        values = require_groups(self.values or groups, groups, "splits.values", self.by)
        return [self.split(test=(value,)) for _ in range(self.repeats) for value in values]


class FixedSplits(Component):
    """Lists of subjects, each in a file."""

    name: Literal["fixed"]
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """One file per split, like split.json in a run's folder; relative to the working directory."""

    allow_leak: bool = False
    """Whether a person, or the same image under two names, may be in two sets of a split."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """Return one split per file."""
        return [Split(file=file, allow_leak=self.allow_leak) for file in self.files]


Scheme = Annotated[RandomSplits | KFold | LeaveOneOut | FixedSplits, Field(discriminator="name")]


_RESERVED_NAMES = ("figures", "tables", "report.html", "ablation.yaml", "plan.json")
_SHARED_KEYS = ("name", "seed", "split", "extends")


class Cluster(Component):
    """Resources of one run on a Ray cluster (`softseg ablate --cluster`)."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    """CPUs per run; null: trainer.threads, or 1."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs per run; 0.25 puts four runs on one GPU. With 0, a run does not see the GPUs of
    its node, and `trainer.device: auto` is the CPU."""
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
    the runs of split k have the seed 10000 * `seed` + k, so that ablations with different seeds
    share no split."""
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
                raise ValueError(f"{other} and {name} differ only in case; rename one")
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
    shared = ConfigTree({**base, "name": name}, tree.locations, tree.nulled)
    own = apply_differences(shared, differences)
    return validate(own, Experiment)
