"""The truth that segmentations are scored against: subjects of a dataset, or masks in folders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from softseg.config.load import load_tree, validate
from softseg.config.merge import apply_changes, merge_data, with_locations
from softseg.config.shipped import find_config
from softseg.config.yaml.tree import ConfigTree, Location
from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.core.names import distinct_names, listing, natural_key
from softseg.data import Dataset, DatasetError, Subject, read_split
from softseg.data.loaders.base import DatasetFields
from softseg.data.loaders.dataset_json import DatasetJson
from softseg.data.nifti.io import file_stem, nifti_files, unreadable_formats
from softseg.metrics.score import Evaluate
from softseg.preprocess.slices import Slices
from softseg.runs.folder import Run
from softseg.scoring.case_table import read_case_table
from softseg.scoring.names import MASK, SOFT, SegmentationName, case_names, parse_name, person_of

Masks = dict[str, dict[str, dict[str, Path]]]  # case -> target -> rater -> file
_VALUES = re.compile(r"dataset\.targets\.(\S+?)\.values")
SCORED_METRICS: dict[str, Any] = {
    "surface_tolerance_mm": 1.0,
    "specificity": True,
    "dice_thresholds": [0.1, 0.3, 0.5, 0.7, 0.9],
    "qubiq": True,
    "curvas": True,
    "soft_surface": True,
}
"""The keys of `evaluate.metrics` that `score` has unless the YAML file has others."""
UNNAMED = "foreground"
"""The target of masks in a folder that no name, option or dataset.json names."""


class MaskFolders(DatasetFields):
    """Masks in folders, without their scans; several folders are of several raters."""

    loader: Literal["masks"]
    folders: tuple[str, ...]
    """The folders; a case has a mask in each."""
    cases: str | None = None
    """Table of the masks of each case, in the first folder; null: names say it."""

    def __call__(self) -> list[Subject]:
        """Find the cases, in natural order.

        Raises UserError for folders without masks; DatasetError for cases that lack a mask of a
        target or have two of the same.
        """
        masks, unusable, problems = self._find_masks()
        subjects, without = [], defaultdict(list)
        for case in sorted(masks, key=natural_key):
            missing = [target for target in self.targets if not masks[case].get(target)]
            if missing:
                without[listing(missing)].append(case)
            elif case not in unusable:
                subjects.append(self._subject(case, masks[case]))
        problems += [
            f"{listing(cases)}: no mask of {missing}; add it" for missing, cases in without.items()
        ]
        if problems:
            raise DatasetError(f"{self.root}: {problems[0]}", problems, subjects)
        return subjects

    def _masks_in(self, folder: Path) -> dict[Path, SegmentationName]:
        """Return the masks of a folder with their cases, by their names or by the table."""
        if self.cases is None:
            return _named_masks(folder)
        masks = read_case_table(Path(self.cases)).masks
        if not masks:
            raise UserError(f"--cases {self.cases}: has no column truth with paths in {folder}")
        return {
            folder / mask.path: SegmentationName(mask.case, mask.target, mask.rater)
            for mask in masks
        }

    def _subject(self, case: str, masks: Mapping[str, dict[str, Path]]) -> Subject:
        """Return a case; its first mask sets the grid."""
        labels: dict[str, dict[str, Path | None]] = {name: {**masks[name]} for name in self.targets}
        first = next(iter(masks[next(iter(self.targets))].values()))
        columns = {"subject": person_of(case)}
        return Subject(case, {"truth": first}, labels, roi=None, columns=columns)

    def _find_masks(self) -> tuple[Masks, set[str], list[str]]:
        """Return the masks of every case; the cases with two masks of one target; problems.

        A mask whose name says its target counts before those, such as label maps, that do not.
        """
        masks: Masks = {}
        twice: dict[str, dict[str, tuple[Path, Path]]] = {}  # target -> case -> masks
        folders = [Path(folder) for folder in self.folders]
        for folder, own_name in zip(folders, distinct_names(folders), strict=True):
            of_folder = "" if len(folders) == 1 else own_name
            found = self._masks_in(folder)
            for path, name in sorted(found.items(), key=lambda item: not item[1].target):
                rater = "-".join(filter(None, (of_folder, name.rater)))
                for target in [name.target] if name.target else self.targets:
                    if target not in self.targets:
                        continue
                    raters = masks.setdefault(name.case, {}).setdefault(target, {})
                    other = raters.setdefault(rater, path)
                    if other != path and (name.target or not found[other].target):
                        twice.setdefault(target, {})[name.case] = other, path
        problems = []
        for target, cases in twice.items():
            one, other = next(iter(cases.values()))
            problems.append(
                f"{listing(cases)}: two truths of {target}, such as {one} and {other}; move one "
                "kind of masks to another folder, or describe them in a YAML file with the section "
                "`dataset`"
            )
        return masks, {case for cases in twice.values() for case in cases}, problems


def _named_masks(folder: Path) -> dict[Path, SegmentationName]:
    """Return the masks of a folder and what their names say; of a soft map and its mask the first.

    Raises UserError for a folder without NIfTI files, or with a BIDS dataset and its images.
    """
    if (folder / "derivatives").is_dir():
        raise UserError(
            f"{folder}: is a BIDS dataset with images; name the folder of its masks, such as "
            f"{folder / 'derivatives' / 'labels'}, or a YAML file with the section `dataset`"
        )
    files = nifti_files(folder)
    if not files:
        others = unreadable_formats(folder)
        held = f"; it holds {others}" if others else ""
        raise UserError(f"{folder}: has no NIfTI files{held}")
    names = {path: parse_name(path_in(folder, path)) for path in files}
    soft = {(name.case, name.target, name.rater) for name in names.values() if name.kind == SOFT}
    return {
        path: name
        for path, name in names.items()
        if name.kind != MASK or (name.case, name.target, name.rater) not in soft
    }


def path_in(folder: Path, path: Path) -> str:
    """Return the path of a file in a folder, without its ending."""
    return path.with_name(file_stem(path)).relative_to(folder).as_posix()


class _OfDataset(Component):
    """The sections of a YAML file that scoring reads."""

    dataset: Dataset
    """Where the truth is."""
    evaluate: Evaluate = Evaluate()
    """Which metrics are computed."""
    slices: Slices = Slices()
    """`axis`: the plane of the slices, for `mse_paper`."""


class _OfFolders(_OfDataset):
    """The same for masks in folders."""

    dataset: MaskFolders  # type: ignore[assignment]


@dataclass(frozen=True)
class Truth:
    """The cases that have a truth, none of them read yet."""

    source: str
    dataset: DatasetFields
    evaluate: Evaluate
    slice_axis: int
    """In canonical orientation."""
    subjects: dict[str, Subject]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Subject -> the names by which segmentations may call it."""
    problems: tuple[str, ...] = ()
    """What is wrong with subjects that are left out."""

    @property
    def targets(self) -> list[str]:
        """The scored structures."""
        return list(self.dataset.targets)

    def advice(self, message: str) -> str:
        """Return a message about a mask; for folders of masks, with the option for their codes."""
        if not isinstance(self.dataset, MaskFolders):
            return message
        return _VALUES.sub(r"--target \1=CODE,..", message)


def read_truth(
    sources: Sequence[Path],
    changes: Sequence[str] = (),
    targets: Mapping[str, Sequence[float]] | None = None,
    cases: Path | None = None,
) -> Truth:
    """Return the truth of a YAML file with the section `dataset`, a run, or folders of masks.

    Of a run's folder it is the test set. Several folders are of several raters, and the mean of
    their masks is the truth. `targets` names those in folders, with their codes in label maps;
    `cases` is a table of the masks in a folder.
    `changes` are `key=value` changes of the configuration. Raises UserError for anything else.
    """
    [first, *others] = sources
    if len(sources) == 1 and Run(first).config.is_file():
        return _of_run(Run(first), changes)
    if not first.is_dir() and not others:
        return _of_file(find_config(first), changes, targets)
    if missing := [str(path) for path in sources if not path.is_dir()]:
        raise UserError(
            f"--truth {missing[0]}: there is no such folder; name a folder with masks of a rater"
        )
    return _of_folders(sources, changes, targets or {}, cases)


def _of_run(run: Run, changes: Sequence[str]) -> Truth:
    """Return the truth of a run's test set."""
    config = _validated(load_tree(run.config, changes), _OfDataset)
    tested = read_split(run.split).test
    if not tested:
        raise UserError(f"--truth {run.folder}: the test set of the run is empty")
    return _truth(str(run.folder), config, tested)


def _of_file(
    file: Path, changes: Sequence[str], targets: Mapping[str, Sequence[float]] | None
) -> Truth:
    """Return the truth of all subjects of a YAML file."""
    if targets:
        raise UserError("--target is for folders of masks: the targets are in the YAML file")
    tree = load_tree(file, changes)
    if "dataset" not in tree.data:
        raise UserError(f"{tree.location(())}: has no section `dataset`, which --truth needs")
    config = _validated(tree, _OfDataset)
    return _truth(str(file), config)


def _of_folders(
    folders: Sequence[Path],
    changes: Sequence[str],
    targets: Mapping[str, Sequence[float]],
    cases: Path | None,
) -> Truth:
    """Return the truth of masks in folders."""
    codes = {name: list(values) or None for name, values in targets.items()}
    section = {
        "loader": "masks",
        "root": str(folders[0]),
        "folders": list(map(str, folders)),
        "contrasts": ["truth"],
        "targets": {n: {"values": v} for n, v in codes.items()} or _named_targets(folders, cases),
        "raters": {"fusion": "mean"},
        "cases": None if cases is None else str(cases),
    }
    source = " ".join(map(str, folders))
    tree = ConfigTree.at({"dataset": section}, Location(f"--truth {source}"))
    config = _validated(apply_changes(tree, changes), _OfFolders)
    return _truth(source, config)


def _named_targets(folders: Sequence[Path], cases: Path | None) -> dict[str, Any]:
    """Return the targets that names of masks or nnU-Net's dataset.json name, or an unnamed one."""
    if cases is None:
        named = {name.target for folder in folders for name in _named_masks(folder).values()}
    else:
        named = {mask.target for mask in read_case_table(cases).masks}
    if targets := sorted(named - {""}, key=natural_key):
        return {target: {} for target in targets}
    for place in (folders[0], folders[0].parent):
        if (place / "dataset.json").is_file():
            return dict(DatasetJson.read(place / "dataset.json").targets())
    return {UNNAMED: {}}


def _validated(tree: ConfigTree, model: type[_OfDataset]) -> _OfDataset:
    """Return the sections that scoring reads; the others may be those of an experiment."""
    read = {key: value for key, value in tree.data.items() if key in model.model_fields}
    defaults = {"evaluate": {"metrics": SCORED_METRICS}}
    return validate(with_locations(merge_data(defaults, read, top=True), tree, tree), model)


def _truth(source: str, config: _OfDataset, members: Sequence[str] = ()) -> Truth:
    """Return the truth of a dataset's subjects, of all or of these `members`."""
    dataset = config.dataset
    problems: tuple[str, ...] = ()
    try:
        subjects = dataset()
    except DatasetError as error:
        subjects, problems = error.sound, tuple(error.problems)
    by_name = {s.name: s for s in subjects if not members or s.name in members}
    root, names = dataset.existing_root(), {}
    for name, subject in by_name.items():
        image = subject.first_image
        in_root = path_in(root, image) if image.is_relative_to(root) else file_stem(image)
        # masks of one case in several files are called after the case, not after the first file
        names[name] = case_names(*([] if isinstance(dataset, MaskFolders) else [in_root]), name)
    axis = config.slices.axis_index
    return Truth(source, dataset, config.evaluate, axis, by_name, names, problems)
