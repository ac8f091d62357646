"""The loader `nnunet`: the training part of a folder in nnU-Net's raw format."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from softseg.core.errors import UserError, combined_error
from softseg.core.names import listing, unknown_name
from softseg.data.loaders.base import DatasetFields, Target, TargetName
from softseg.data.loaders.dataset_json import DatasetJson, ListedCase
from softseg.data.loaders.table import existing_file
from softseg.data.subject import Frame, MaskFile, Subject, SubjectFiles

_log = logging.getLogger(__name__)


class NnunetDataset(DatasetFields):
    """Subjects from `imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz` and `dataset.json`.

    Contrasts are the channel names of dataset.json. A target's `values` are codes of its labels.
    Without `contrasts`, all channels are used; without `targets`, each label is a target. Files
    that dataset.json lists, as in the Medical Segmentation Decathlon, may have any names, and one
    file may hold all channels.
    Voxels of the label `ignore`, if it has one, are ignored unless a target has its own `ignore`.
    """

    unused_target_keys: ClassVar = {
        **dict.fromkeys(("label", "suffix", "contrast"), "remove it: masks are labelsTr/<case>"),
        "confidence": "nnU-Net's format has no confidence maps: remove it, or use loader: files",
    }

    loader: Literal["nnunet"]
    contrasts: Annotated[tuple[str, ...], Field(min_length=1)] = ()
    """The input channels, in this order: names of channels in dataset.json; by default all of
    them."""
    targets: Annotated[dict[TargetName, Target], Field(min_length=1)] = Field(default={})
    """What to segment: a name (letters, digits, `_`, `-`; it ends in file names) and the codes of
    its labels. The order is that of the model's output channels. By default each label of
    dataset.json is a target, except background and `ignore`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_dataset_json(cls, spec: Any) -> Any:
        """Add the contrasts and targets of dataset.json if the configuration has none."""
        spec = _with_tuples(spec)
        if not isinstance(spec, dict) or not isinstance(spec.get("root"), str):
            return spec
        if "contrasts" in spec and "targets" in spec:
            return spec
        root = Path(spec["root"]).expanduser()
        if not root.is_dir():
            raise ValueError(
                f"there is no folder {root}, whose dataset.json has the contrasts and targets; "
                "correct dataset.root, or write contrasts and targets"
            )
        try:
            description = DatasetJson.read(root / "dataset.json")
        except UserError as error:
            raise ValueError(str(error)) from error
        targets = spec["targets"] if "targets" in spec else description.targets()
        filled = {"contrasts": description.contrasts, **spec, "targets": targets}
        return _with_tuples(filled)

    @field_validator("roi")
    @classmethod
    def _reject_roi(cls, roi: str | None) -> None:
        if roi is not None:
            raise ValueError("nnU-Net's format has no ROI masks: remove it, or use loader: files")

    @property
    def distinguishes_raters(self) -> bool:
        """False: a case has one mask."""
        return False

    def __call__(self) -> list[Subject]:
        """Find the training cases, in natural order.

        Raises UserError if dataset.json disagrees with the configuration, and, as
        `resolve_subjects`, for every disagreement with the folders and every missing file.
        """
        root = self.existing_root()
        path = root / "dataset.json"
        description = DatasetJson.read(path)
        self._check_description(path, description)
        if description.listed:
            files = [
                self._listed_files(root, name, case, description)
                for name, case in description.listed.items()
            ]
            problems = []
            _warn_of_unlisted_files(root, description)
        else:
            files = self._subject_files(root, description)
            problems = list(_folder_problems(root, description))
        if problems and not any(case.images for case in files):
            raise combined_error(f"no case in {root} fits its dataset.json:", problems)
        if files and description.cases not in (None, len(files)):
            names = listing(case.name for case in files)
            hold = "it lists" if description.listed else "imagesTr and labelsTr hold"
            problems.append(
                f"{path}: numTraining is {description.cases}, but {hold} {len(files)} cases "
                f"({names}); files are missing, or correct the number"
            )
        searched = f"imagesTr/<case>_0000{description.ending}"
        return self.resolve_subjects(root, files, searched, problems)

    def _check_description(self, path: Path, description: DatasetJson) -> None:
        """Raise UserError for a contrast or a code that dataset.json does not have."""
        channels = list(description.names.values())
        for contrast in self.contrasts:
            if contrast not in channels:
                raise UserError(f"{path}: {unknown_name('channel', contrast, channels)}")
            if channels.count(contrast) > 1:
                raise UserError(
                    f"{path}: several channels are called '{contrast}'; give each a name of its own"
                )
        codes = {code for values in description.codes.values() for code in values}
        labels = ", ".join(f"{name} {values}" for name, values in description.codes.items())
        for name, target in self.targets.items():
            ignored = description.ignored if target.ignore is None else ()
            keys = {"values": target.codes or (), "ignore": target.ignore or ()}
            for key, code in ((key, code) for key, own in keys.items() for code in own):
                if code not in codes:
                    raise UserError(
                        f"dataset.targets.{name}.{key}: {path} has no code {code}; it has {labels}"
                    )
                if code in ignored:
                    raise UserError(
                        f"dataset.targets.{name}.values: {code} is the label `ignore` of {path}; "
                        "remove it, or learn it as a structure with ignore: []"
                    )

    def _listed_files(
        self, root: Path, name: str, case: ListedCase, description: DatasetJson
    ) -> SubjectFiles:
        """Return the files of a case that dataset.json lists and that exist.

        Raises UserError for a case with another number of images than channels.
        """
        channels = description.contrasts
        if len(case.images) not in (1, len(channels)):
            raise UserError(
                f"{root / 'dataset.json'}: {name} has {len(case.images)} images for "
                f"{len(channels)} channels; list one for each, or a file that holds all"
            )
        together = len(case.images) < len(channels)
        images = {
            contrast: case.images[0 if together else channels.index(contrast)]
            for contrast in self.contrasts
        }
        searched = {f"image {contrast}": image for contrast, image in images.items()}
        searched |= {f"mask {target}": case.label for target in self.targets}
        files = SubjectFiles(name, {"subject": name}, searched=searched, is_named=True)
        for contrast, image in images.items():
            if path := existing_file(root, image, name):
                files.images[contrast] = [path]
            if together:
                files.frames[contrast] = Frame(channels.index(contrast), len(channels))
        files.ignore = description.ignored
        if mask := existing_file(root, case.label, name):
            for target in self.targets:
                files.labels[target].append(MaskFile(mask))
        return files

    def _subject_files(self, root: Path, description: DatasetJson) -> list[SubjectFiles]:
        """Return every case that has an image or a mask."""
        ending = description.ending
        channels = {name: f"{number:04}" for number, name in description.names.items()}
        numbers = {contrast: channels[contrast] for contrast in self.contrasts}
        cases: dict[str, SubjectFiles] = {}

        def case(name: str) -> SubjectFiles:
            images = {
                f"image {contrast}": str(root / "imagesTr" / f"{name}_{number}{ending}")
                for contrast, number in numbers.items()
            }
            masks = {f"mask {target}": f"labelsTr/{name}{ending}" for target in self.targets}
            files = SubjectFiles(name, {"subject": name}, searched=images | masks)
            files.ignore = description.ignored
            return cases.setdefault(name, files)

        for path in _visible_files(root / "imagesTr", f"*_????{ending}"):
            name, _, ending_number = path.name.removesuffix(ending).rpartition("_")
            for contrast, number in numbers.items():
                if number == ending_number:
                    case(name).images[contrast] = [path]
        for path in _visible_files(root / "labelsTr", f"*{ending}"):
            for target in self.targets:
                case(path.name.removesuffix(ending)).labels[target].append(MaskFile(path))
        return list(cases.values())


def _with_tuples(spec: Any) -> Any:
    """Return YAML data with tuples for lists: pydantic converts none after this validator."""
    if isinstance(spec, dict):
        return {key: _with_tuples(value) for key, value in spec.items()}
    return tuple(map(_with_tuples, spec)) if isinstance(spec, list) else spec


def _visible_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files that match, except hidden ones (`._a.nii.gz` of macOS)."""
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]


def _folder_problems(root: Path, description: DatasetJson) -> Iterator[str]:
    """Yield what is wrong with NIfTI files that do not fit file_ending or channel_names."""
    path, ending = root / "dataset.json", description.ending
    images = [file.name.removesuffix(ending) for file in _visible_files(root / "imagesTr", "*")]
    numbered = [
        file.name
        for file in _visible_files(root / "labelsTr", f"*_0000{ending}")
        if file.name.removesuffix(ending) in images
    ]
    if numbered:
        yield (
            f"labelsTr holds {listing(numbered)}, but masks have no number of a channel; rename "
            f"them to <case>{ending}"
        )
    for folder in ("imagesTr", "labelsTr"):
        files = _visible_files(root / folder, "*.nii*")
        others = [file.name for file in files if not file.name.endswith(ending)]
        if others:
            yield (
                f"{path}: file_ending is {ending}, but {folder} holds {listing(others)}; rename or "
                "convert them, or correct file_ending"
            )
    channels = ", ".join(f"_{number:04} {name}" for number, name in description.names.items())
    endings = tuple(f"_{number:04}{ending}" for number in description.names)
    names = [file.name for file in _visible_files(root / "imagesTr", f"*{ending}")]
    others = [name for name in names if not name.endswith(endings)]
    if others:
        yield (
            f"{path}: its channels are {channels}, but imagesTr holds {listing(others)}; rename "
            "them, or correct channel_names; or list the files of each case under `training`, or "
            f"use loader: files with image: imagesTr/{{subject}}{ending}"
        )


def _warn_of_unlisted_files(root: Path, description: DatasetJson) -> None:
    """Warn of images that dataset.json does not list."""
    listed = {Path(file).name for case in description.listed.values() for file in case.images}
    files = _visible_files(root / "imagesTr", f"*{description.ending}")
    if others := [file.name for file in files if file.name not in listed]:
        message = "%s does not list %d file(s) in imagesTr, which are not used: %s"
        _log.warning(message, root / "dataset.json", len(others), listing(others))
